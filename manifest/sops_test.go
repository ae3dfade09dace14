package manifest

import (
	"encoding/base64"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/sops"
	"github.com/commitgate/commitgate/test/sopstool"
)

// canary stands in every encrypted value of these tests: it must be found nowhere but in what is compared.
const canary = "corvus-corax-7391"

// encryptedTree is a tree in which files are encrypted, by their names with the arguments of sops.
type encryptedTree struct {
	spec, files string
	encrypted   map[string][]string
}

func dataOnly() []string { return []string{"--encrypted-regex", "^(data|stringData)$"} }

func encryptedTrees() map[string]encryptedTree {
	const secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: db, namespace: shop}\nstringData:\n  password: " + canary + "\n  note: |\n    two\n    lines " + canary + "\ndata:\n  encoded: "
	encoded := base64.StdEncoding.EncodeToString([]byte("x" + canary))
	const deployment = `
-- apps/deployment.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: registry.example.com/web:1
        envFrom: [{secretRef: {name: db}}]
`
	const kustomization = `
-- apps/kustomization.yaml --
namespace: shop
namePrefix: eu-
labels: [{pairs: {team: shop}, includeSelectors: true}]
`
	return map[string]encryptedTree{
		"a Secret as a file": {files: "-- apps/a.yaml --\n" + secret + encoded + "\n", encrypted: map[string][]string{"apps/a.yaml": dataOnly()}},
		"several documents, of which one has nothing to hide": {
			files:     "-- apps/a.yaml --\n" + secret + encoded + "\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: shop}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: other, namespace: shop}\nstringData: {a: \"" + canary + "\"}\n",
			encrypted: map[string][]string{"apps/a.yaml": dataOnly()},
		},
		"a MAC over what is encrypted alone, and a name with a dot": {
			files:     "-- apps/a.yaml --\napiVersion: v1\nkind: Secret\nmetadata: {name: db, namespace: shop}\nstringData: {tls.key: \"" + canary + "\"}\n",
			encrypted: map[string][]string{"apps/a.yaml": append(dataOnly(), "--mac-only-encrypted")},
		},
		"JSON, through a kustomization that names and labels": {
			files: kustomization + "resources: [a.json]\n-- apps/a.json --\n" +
				`{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "stringData": {"password": "` + canary + `"}}` + "\n",
			encrypted: map[string][]string{"apps/a.json": dataOnly()},
		},
		"values of other types, deep in an object that is no Secret": {
			files: deployment + "        env: [{name: A, value: " + canary + "}, {name: B, value: plain_b}]\n        ports: [{containerPort: 8080, protocol: TCP, hostIP: " + canary + "}]\n" +
				"        readinessProbe: {initialDelaySeconds: 17, httpGet: {path: /, port: 8080}}\n",
			encrypted: map[string][]string{"apps/deployment.yaml": {"--encrypted-regex", "^(value|hostIP|initialDelaySeconds)$"}},
		},
		"variables in what is decrypted": {
			spec:      "postBuild: {substitute: {region: eu}}",
			files:     "-- apps/a.yaml --\napiVersion: v1\nkind: Secret\nmetadata: {name: db, namespace: shop}\nstringData: {url: \"https://${region}.example.com/" + canary + "\", dollar: \"$${kept}" + canary + "\", plain: " + canary + "}\n",
			encrypted: map[string][]string{"apps/a.yaml": dataOnly()},
		},
		"a generator of a Secret from dotenv, whose name is a hash": {
			files: deployment + kustomization + "resources: [deployment.yaml]\nsecretGenerator: [{name: db, envs: [db.env]}]\n" +
				"-- apps/db.env --\n# the password\nUSER=root\nPASSWORD=" + canary + "=\"x\"\n",
			encrypted: map[string][]string{"apps/db.env": nil},
		},
		"generators of Secrets from files of all formats": {
			files: kustomization + "secretGenerator:\n- name: files\n  files: [key.pem, renamed.yaml=app.yaml, app.json, app.ini]\n" +
				"- name: pull\n  type: kubernetes.io/dockerconfigjson\n  files: [.dockerconfigjson=pull.json]\n" +
				"-- apps/key.pem --\n-----BEGIN " + canary + "\n\ttab\n-- apps/app.yaml --\nlist:\n    - a\n    - password: " + canary + "\nnumber: 1\n" +
				"-- apps/app.json --\n{\n\t\"a\": \"" + canary + "\",\n\t\"b\": [\n\t\t1,\n\t\t2.5,\n\t\ttrue,\n\t\tnull\n\t]\n}\n" +
				"-- apps/app.ini --\n[database]\nuser     = root\npassword = " + canary + "\n" +
				"-- apps/pull.json --\n{\n\t\"auths\": {\n\t\t\"registry.example.com\": {\n\t\t\t\"auth\": \"" + canary + "\"\n\t\t}\n\t}\n}\n",
			encrypted: map[string][]string{"apps/key.pem": nil, "apps/app.yaml": nil, "apps/app.json": nil, "apps/app.ini": nil, "apps/pull.json": nil},
		},
		"a generator that merges into a base's, in an overlay": {
			files: "-- apps/kustomization.yaml --\nnamespace: shop\nresources: [../base]\nsecretGenerator: [{name: db, behavior: merge, envs: [db.env]}]\n" +
				"-- base/kustomization.yaml --\nresources: [pod.yaml]\nsecretGenerator: [{name: db, literals: [USER=root, PASSWORD=none]}]\n" +
				"-- base/pod.yaml --\napiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: p, image: i, envFrom: [{secretRef: {name: db}}]}]}\n" +
				"-- apps/db.env --\nPASSWORD=" + canary + "\n",
			encrypted: map[string][]string{"apps/db.env": nil},
		},
		"an encrypted patch": {
			files: deployment + kustomization + "resources: [deployment.yaml]\npatches: [{path: patch.yaml}]\n" +
				"-- apps/patch.yaml --\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\nspec: {template: {spec: {containers: [{name: web, env: [{name: TOKEN, value: " + canary + "}]}]}}}\n",
			encrypted: map[string][]string{"apps/patch.yaml": {"--encrypted-regex", "^value$"}},
		},
		"a replacement that copies a decrypted value elsewhere": {
			files: deployment + kustomization + "resources: [deployment.yaml]\nsecretGenerator: [{name: db, envs: [db.env]}]\n" +
				"replacements: [{source: {kind: Secret, name: db, fieldPath: data.PASSWORD}, targets: [{select: {kind: Deployment}, fieldPaths: [spec.template.metadata.annotations.copied], options: {create: true}}]}]\n" +
				"-- apps/db.env --\nPASSWORD=" + canary + "\n",
			encrypted: map[string][]string{"apps/db.env": nil},
		},
	}
}

// plain is the tree as people wrote it before it was encrypted: what Flux applies is built of it.
func (e encryptedTree) plain() string { return e.files }

// sealed is the tree as it stands in Git.
func (e encryptedTree) sealed(t testing.TB, s *sopstool.Tool, recipient ...string) string {
	t.Helper()
	a := txtar.Parse([]byte(e.files))
	done := 0
	for i, f := range a.Files {
		if args, ok := e.encrypted[f.Name]; ok {
			a.Files[i].Data = []byte(s.Encrypt(t, f.Name[strings.LastIndex(f.Name, "/")+1:], string(f.Data), append(args, recipient...)...))
			done++
		}
	}
	if done != len(e.encrypted) {
		t.Fatalf("%d of %d files are encrypted", done, len(e.encrypted))
	}
	return string(txtar.Format(a))
}

func decryption(t testing.TB, s *sopstool.Tool) *Decryption {
	t.Helper()
	keys, err := sops.Load(s.Keys)
	check(t, err)
	return NewDecryption(keys)
}

func renderTree(t testing.TB, in Input, files string) *Set {
	t.Helper()
	set, err := render(t.Context(), in, map[string]revision{"infra": newRepo(t).commit(files)})
	check(t, err)
	return set
}

func TestDecryptedValuesAreComparedAndKeptNowhere(t *testing.T) {
	decryptAndCompare(t, encryptedTrees())
}

// decryptAndCompare holds trees, encrypted and decrypted again by the gate, to what they were before.
func decryptAndCompare(t *testing.T, trees map[string]encryptedTree) {
	s := sopstool.New(t)
	types, err := account.NewTypes(nil)
	check(t, err)
	for name, tree := range trees {
		t.Run(name, func(t *testing.T) {
			want := renderTree(t, gate(t, kustomizationRoot("", tree.spec)), tree.plain())
			in := gate(t, kustomizationRoot("", "decryption: {provider: sops, secretRef: {name: sops-keys}}\n"+tree.spec))
			in.Decryption = decryption(t, s)
			files := tree.sealed(t, s, "--age", s.Age)
			if strings.Contains(files, canary) {
				t.Fatalf("the tree is not encrypted:\n%s", files)
			}
			in.Previous = renderTree(t, in, files)
			set := renderTree(t, in, files+"-- other.yaml --\n# a change elsewhere\n")
			number := regexp.MustCompile(`:\d+\t`) // encrypted files are longer
			if have, want := number.ReplaceAllString(lines(set), "\t"), number.ReplaceAllString(lines(want), "\t"); have != want {
				t.Fatalf("declared\n%s\nwant\n%s\nnot followed: %v", have, want, set.Unfollowed)
			}
			for i, o := range set.Objects {
				if !strings.HasSuffix(o.Group, "toolkit.fluxcd.io") { // there is no schema of those here
					compareSealed(t, types, o, want.Objects[i])
				}
				if o != in.Previous.Objects[i] {
					t.Errorf("%s is another object though nothing of it changed", o.Key)
				}
			}
			for _, text := range []string{canary, base64.StdEncoding.EncodeToString([]byte(canary))[:16]} {
				if at := holding(set, text); at != "" {
					t.Errorf("a decrypted value is kept: %s", at)
				}
			}
		})
	}
}

// compareSealed holds a declared object to what the agent applies: it is explained, and no longer when any decrypted value is another.
func compareSealed(t *testing.T, types *account.Types, o, applied *Object) {
	t.Helper()
	declared, err := types.Declare(account.Declaration{Content: o.Content, Labels: o.Adds.Labels, Annotations: o.Adds.Annotations, Opaque: o.Opaque, Sealed: o.Sealed})
	check(t, err)
	live := liveForm(t, applied.Applied())
	result := declared.Explain(account.Change{Object: live})
	if !result.Faithful() || result.Opaque || result.Decrypted != (len(o.Opaque) > 0) {
		t.Errorf("%s: %+v, opaque %q", o.Key, result, o.Opaque)
	}
	var secret [][]string
	walkTexts(applied.Content.Map(), nil, func(at []string, s string) {
		plain, _ := base64.StdEncoding.DecodeString(s)
		if strings.Contains(s, canary) || strings.Contains(string(plain), canary) {
			secret = append(secret, at)
		}
	})
	for _, at := range secret {
		if !slices.Contains(o.Opaque, fieldPath(at)) {
			t.Errorf("%s: %s is not among the opaque %q", o.Key, fieldPath(at), o.Opaque)
		}
		forged := liveForm(t, edited(applied.Applied(), at).(map[string]any))
		if result := declared.Explain(account.Change{Object: forged, Old: live}); result.Faithful() {
			t.Errorf("%s: another value of %s is explained", o.Key, fieldPath(at))
		}
	}
}

// liveForm is an object as the API server holds it, as far as this matters here: stringData becomes data.
func liveForm(t *testing.T, object map[string]any) map[string]any {
	t.Helper()
	out, _ := deepClone(object).(map[string]any)
	if texts := childMap(out, "stringData"); texts != nil {
		data := childMap(out, "data")
		if data == nil {
			data = map[string]any{}
		}
		for k, v := range texts {
			data[k] = base64.StdEncoding.EncodeToString([]byte(fmt.Sprint(v)))
		}
		delete(out, "stringData")
		out["data"] = data
	}
	return out
}

// edited is a copy with another text at a path.
func edited(v any, at []string) any {
	switch v := deepClone(v).(type) {
	case map[string]any:
		v[at[0]] = edited(v[at[0]], at[1:])
		return v
	case []any:
		for i := range v {
			v[i] = edited(v[i], at[1:])
		}
		return v
	case string:
		if plain, err := base64.StdEncoding.DecodeString(v); err == nil && strings.Contains(string(plain), canary) {
			return base64.StdEncoding.EncodeToString(append(plain, '!'))
		}
		return v + "!"
	default:
		return v
	}
}

// holding says where in all that a value reaches, exported or not, a text is found.
func holding(v any, text string) string {
	seen := map[any]bool{}
	var look func(v reflect.Value, at string) string
	look = func(v reflect.Value, at string) string {
		switch v.Kind() {
		case reflect.String:
			if strings.Contains(v.String(), text) {
				return at
			}
		case reflect.Pointer, reflect.Interface:
			if v.IsNil() {
				return ""
			}
			if v.Kind() == reflect.Pointer {
				if seen[v.Pointer()] {
					return ""
				}
				seen[v.Pointer()] = true
			}
			return look(v.Elem(), at)
		case reflect.Struct:
			for i := range v.NumField() {
				if found := look(v.Field(i), at+"."+v.Type().Field(i).Name); found != "" {
					return found
				}
			}
		case reflect.Map:
			for _, k := range v.MapKeys() {
				if found := look(k, at+" key"); found != "" {
					return found
				}
				if found := look(v.MapIndex(k), fmt.Sprintf("%s[%v]", at, k)); found != "" {
					return found
				}
			}
		case reflect.Slice, reflect.Array:
			if v.Type().Elem().Kind() == reflect.Uint8 && v.Kind() == reflect.Slice {
				if strings.Contains(string(v.Bytes()), text) {
					return at
				}
				return ""
			}
			for i := range v.Len() {
				if found := look(v.Index(i), fmt.Sprintf("%s[%d]", at, i)); found != "" {
					return found
				}
			}
		}
		return ""
	}
	return look(reflect.ValueOf(v), "set")
}

func TestWithoutAKeyValuesAreExplainedByShape(t *testing.T) {
	s := sopstool.New(t)
	types, err := account.NewTypes(nil)
	check(t, err)
	trees := encryptedTrees()
	unhashed := trees["a generator of a Secret from dotenv, whose name is a hash"]
	unhashed.files = strings.Replace(unhashed.files, "namePrefix", "generatorOptions: {disableNameSuffixHash: true}\nnamePrefix", 1)
	tests := map[string]struct {
		tree encryptedTree
		keys bool   // there are keys, for somebody else's files
		lost string // what is not declared, and why
	}{
		"a Secret as a file":                   {tree: trees["a Secret as a file"]},
		"a Secret for somebody else":           {tree: trees["a Secret as a file"], keys: true},
		"a generator with a name of its own":   {tree: unhashed},
		"a generator for somebody else's keys": {tree: unhashed, keys: true},
		"a generator whose name is a hash": {tree: trees["a generator of a Secret from dotenv, whose name is a hash"],
			lost: "infra:apps/kustomization.yaml: the name of Secret eu-db-"},
		"an encrypted patch": {tree: trees["an encrypted patch"]},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			in := gate(t, kustomizationRoot("", "decryption: {provider: sops}\n"+test.tree.spec))
			if test.keys {
				in.Decryption = decryption(t, s)
			}
			set := renderTree(t, in, test.tree.sealed(t, s, "--age", s.Stranger))
			want := renderTree(t, gate(t, kustomizationRoot("", test.tree.spec)), test.tree.plain())
			if test.lost != "" {
				if len(set.Unfollowed) != 1 || !strings.HasPrefix(set.Unfollowed[0].String(), test.lost) || len(set.Objects) != len(want.Objects)-1 {
					t.Errorf("%d objects of %d, not followed: %v", len(set.Objects), len(want.Objects), set.Unfollowed)
				}
				return
			}
			opaque := 0
			for i, o := range set.Objects {
				declared, err := types.Declare(account.Declaration{Content: o.Content, Labels: o.Adds.Labels, Annotations: o.Adds.Annotations, Opaque: o.Opaque, Sealed: o.Sealed})
				check(t, err)
				result := declared.Explain(account.Change{Object: liveForm(t, want.Objects[i].Applied())})
				if !result.Faithful() || result.Decrypted || result.Opaque != (len(o.Opaque) > 0) {
					t.Errorf("%s: %+v", o.Key, result)
				}
				opaque += len(o.Opaque)
			}
			if opaque == 0 {
				t.Error("nothing is opaque")
			}
		})
	}
}

// TestEncryptedFilesThatWereChanged: whoever can push, but has no key, changes an encrypted file. Flux would not notice: it verifies no MAC.
func TestEncryptedFilesThatWereChanged(t *testing.T) {
	s := sopstool.New(t)
	trees := encryptedTrees()
	tests := map[string]struct {
		tree     encryptedTree
		from, to string
		want     string
	}{
		"in a file, spelled so that its metadata is not plain to see": {trees["a Secret as a file"], "name: db|mac: ENC", "name: admin|mac:  ENC",
			"infra:apps/a.yaml:11: " + sops.ErrMAC.Error()},
		"in a file": {trees["a Secret as a file"], "name: db", "name: admin",
			"infra:apps/a.yaml:11: " + sops.ErrMAC.Error()},
		"through a kustomization": {trees["JSON, through a kustomization that names and labels"], `"name": "db"`, `"name": "admin"`,
			"infra:apps/a.json:10: " + sops.ErrMAC.Error()},
		"of a generator": {trees["a generator of a Secret from dotenv, whose name is a hash"], "USER=ENC", "ADMIN=ENC",
			"infra:apps/db.env:2: ADMIN: an encrypted value that was changed, moved, or taken from another file"},
		"a patch": {trees["an encrypted patch"], "name: TOKEN", "name: LD_PRELOAD",
			"infra:apps/patch.yaml:14: " + sops.ErrMAC.Error()},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			in := gate(t, kustomizationRoot("", "decryption: {provider: sops}\n"+test.tree.spec))
			in.Decryption = decryption(t, s)
			files := test.tree.sealed(t, s, "--pgp", s.PGP)
			changed := files
			for i, from := range strings.Split(test.from, "|") {
				changed = strings.Replace(changed, from, strings.Split(test.to, "|")[i], 1)
			}
			if changed == files {
				t.Fatalf("no %s in\n%s", test.from, files)
			}
			_, err := render(t.Context(), in, map[string]revision{"infra": newRepo(t).commit(changed)})
			if err == nil || err.Error() != test.want {
				t.Errorf("got %v\nwant %s\n%s", err, test.want, changed)
			}
		})
	}
}

// TestErrorsQuoteNothingDecrypted: kustomize quotes the line that it does not understand.
func TestErrorsQuoteNothingDecrypted(t *testing.T) {
	s := sopstool.New(t)
	tests := map[string]encryptedTree{
		"a patch that is none": {
			files:     "-- apps/kustomization.yaml --\nresources: [a.yaml]\npatches: [{path: p.yaml}]\n-- apps/a.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: shop}\n-- apps/p.yaml --\nx: " + canary + "\n",
			encrypted: map[string][]string{"apps/p.yaml": nil},
		},
		"variables that are none": {
			spec:      "postBuild: {substitute: {a: b}}",
			files:     "-- apps/a.yaml --\napiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: shop}\nstringData: {a: \"${" + canary + "\"}\n",
			encrypted: map[string][]string{"apps/a.yaml": dataOnly()},
		},
		"a generator whose keys are encrypted too": {
			files:     "-- apps/kustomization.yaml --\nsecretGenerator: [{name: a, namespace: shop, envs: [a.yaml]}]\n-- apps/a.yaml --\na b: " + canary + "\n",
			encrypted: map[string][]string{"apps/a.yaml": nil},
		},
	}
	for name, tree := range tests {
		t.Run(name, func(t *testing.T) {
			in := gate(t, kustomizationRoot("", "decryption: {provider: sops}\n"+tree.spec))
			in.Decryption = decryption(t, s)
			_, err := render(t.Context(), in, map[string]revision{"infra": newRepo(t).commit(tree.sealed(t, s, "--age", s.Age))})
			if err == nil || strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), "corvus") {
				t.Errorf("got %v", err)
			}
		})
	}
}
