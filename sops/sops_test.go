package sops_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/sops"
	"github.com/commitgate/commitgate/test/sopstool"
)

// newTool is the real sops, and its keys as the gate reads them.
func newTool(t *testing.T) (*sopstool.Tool, *sops.Keys) {
	t.Helper()
	s := sopstool.New(t)
	write(t, filepath.Join(s.Keys, "README"), "not a key")
	keys, err := sops.Load(s.Keys)
	if err != nil {
		t.Fatal(err)
	}
	return s, keys
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

const secret = `apiVersion: v1
kind: Secret
metadata:
  name: db
  namespace: shop
  annotations:
    port_unencrypted: "5432"
type: Opaque
stringData:
  password: "correct horse: battery"
  empty: ""
  pem: |
    -----BEGIN NOTHING-----
    AAAA
    -----END NOTHING-----
  umlaut: "ä€😀"
`

// configuration has a value of each type, and structure.
const configuration = `text: yes
number: 42
big: 9007199254740993
float: 1.50
bool: true
nothing: null
time: 2026-11-21T10:00:00Z
day: 2026-11-21
list:
    - one
    - 2
    - deep: {password: hidden, port_unencrypted: 8080}
      more: [a, b]
empty: {}
none: []
anchored: &a {user: root}
again: *a
`

func TestOpenWhatSOPSWrote(t *testing.T) {
	s, keys := newTool(t)
	tests := map[string]struct {
		name, content string
		args          []string
	}{
		"a Secret of which the data is encrypted":             {"a.yaml", secret, []string{"--encrypted-regex", "^(data|stringData)$"}},
		"everything but what is named":                        {"a.yaml", secret, []string{"--unencrypted-regex", "^(apiVersion|kind|metadata|type)$"}},
		"by the suffix of names that are encrypted":           {"a.yaml", configuration, []string{"--encrypted-suffix", "word"}},
		"by the suffix of names that are not":                 {"a.yaml", configuration, []string{"--unencrypted-suffix", "_unencrypted"}},
		"the rule that SOPS goes by without one":              {"a.yaml", configuration, nil},
		"a MAC over encrypted values only":                    {"a.yaml", secret, []string{"--encrypted-regex", "^stringData$", "--mac-only-encrypted"}},
		"a MAC over encrypted values only, and everything is": {"a.yaml", configuration, []string{"--mac-only-encrypted"}},
		"several documents":                                   {"a.yaml", secret + "---\n" + secret + "---\nkind: ConfigMap\ndata: {a: b}\n", []string{"--encrypted-regex", "^(data|stringData)$"}},
		"comments, which SOPS encrypts too":                   {"a.yaml", "# a comment\npassword: x # and one here\n# before\nlist:\n  # in it\n  - a\n  - b # beside\n# at the end\n", nil},
		"JSON":                                                {"a.json", `{"kind": "Secret", "stringData": {"a": "b<&>", "n": 1.0, "i": 7, "l": [1, "two", {"three": null}], "t": true, "e": {}, "none": []}}`, nil},
		"JSON of which the data is encrypted":                 {"a.json", `{"kind": "Secret", "metadata": {"name": "x"}, "stringData": {"a": "b"}}`, []string{"--encrypted-regex", "^stringData$"}},
		"dotenv":                                              {"a.env", "# comment\nUSER=root\nPASSWORD=a=b \"c\"\nLINES=one\\ntwo\nEMPTY=\n", nil},
		"dotenv, in part":                                     {"a.env", "USER_plain=root\nPASSWORD=x\n", []string{"--unencrypted-suffix", "_plain"}},
		"INI":                                                 {"a.ini", "; before all\ntop=1\n\n[database]\n; the password\npassword = a=b ; c\nuser=root\nempty=\n\n[other section]\npath = /a/b\nquoted = \"x y \"\n", nil},
		"INI, in part":                                        {"a.ini", "[database]\nuser_plain=root\npassword=x\n", []string{"--unencrypted-suffix", "_plain"}},
		"a binary file":                                       {"a.key", "-----BEGIN\nno\ttext \"at\" all\n", nil},
		"a file that pulls images":                            {"a.dockerconfigjson", `{"auths":{"registry.example.com":{"auth":"Zm9vOmJhcg=="}}}`, []string{"--input-type", "json", "--output-type", "json"}},
		"keys with dots and spaces, which become part of the path":         {"a.yaml", "\"a.b c\":\n  \"d:e\": x\n", nil},
		"a text that looks like an encrypted value, where nothing need be": {"a.yaml", "note: ENC[AES256_GCM,data:x]\npassword: y\n", []string{"--encrypted-regex", "^password$"}},
	}
	recipients := map[string][]string{
		"age": {"--age", s.Age}, "OpenPGP": {"--pgp", s.PGP}, "both": {"--age", s.Age, "--pgp", s.PGP},
		"a stranger and OpenPGP": {"--age", s.Stranger, "--pgp", s.PGP}, "a stranger and age": {"--age", s.Stranger + "," + s.Age},
	}
	for name, test := range tests {
		for kind, args := range recipients {
			if test.name != "a.env" && len(kind) > len("OpenPGP") {
				continue // who opens it does not hang on what is in it
			}
			t.Run(name+", for "+kind, func(t *testing.T) {
				sealed := []byte(s.Encrypt(t, test.name, test.content, append(args, test.args...)...))
				format := sops.FormatOf(test.name)
				if !sops.Marked(sealed, format) {
					t.Errorf("not taken for encrypted:\n%s", sealed)
				}
				f, err := keys.Open(sealed, format)
				if err != nil {
					t.Fatalf("%v\n%s", err, sealed)
				}
				if len(f.Values) == 0 {
					t.Errorf("nothing was decrypted")
				}
				types := []string{}
				if len(test.args) > 1 && test.args[0] == "--input-type" {
					types = test.args
				}
				want := s.Decrypt(t, test.name, string(sealed), types...)
				got, err := f.Emit(format)
				if strings.Contains(test.content, "#") && format == sops.YAML {
					if err == nil {
						t.Errorf("comments were written somewhere")
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if string(got) != want {
					t.Errorf("got\n%s\nsops decrypt gives\n%s", got, want)
				}
				if decoy, err := f.Decoy().Emit(format); err != nil || string(decoy) == want {
					t.Errorf("the decoy is the file itself, or: %v", err)
				}
			})
		}
	}
}

// TestFilesOfSeveralGroupsOfKeys: it takes several people's keys at once, of whom the gate may have enough.
func TestFilesOfSeveralGroupsOfKeys(t *testing.T) {
	s, keys := newTool(t)
	configurations := map[string]string{
		"all of two groups":                       "- shamir_threshold: 2\n  key_groups:\n  - age: [%[1]s]\n  - pgp: [%[2]s]\n",
		"all of two groups, as nothing is said":   "- key_groups:\n  - age: [%[1]s]\n  - pgp: [%[2]s]\n",
		"two of three groups":                     "- shamir_threshold: 2\n  key_groups:\n  - age: [%[3]s]\n  - age: [%[1]s]\n  - pgp: [%[2]s]\n",
		"two of five groups, and more are opened": "- shamir_threshold: 2\n  key_groups:\n  - age: [%[3]s]\n  - age: [%[1]s]\n  - pgp: [%[2]s]\n  - age: [%[3]s, %[1]s]\n  - age: [%[3]s]\n",
		"one group": "- key_groups:\n  - age: [%[3]s, %[1]s]\n",
	}
	files := map[string]string{"a.yaml": configuration, "a.json": `{"a": "b", "c": {"d": 1}}`, "a.env": "A=b\nC=d\n", "a.key": "-----BEGIN\n"}
	for name, configured := range configurations {
		t.Run(name, func(t *testing.T) {
			s.Configure(t, "groups.yaml", "creation_rules:\n"+fmt.Sprintf(configured, s.Age, s.PGP, s.Stranger))
			for file, content := range files {
				sealed := s.Encrypt(t, file, content, "--config", "groups.yaml")
				f, err := keys.Open([]byte(sealed), sops.FormatOf(file))
				if err != nil {
					t.Errorf("%s: %v\n%s", file, err, sealed)
					continue
				}
				if got, err := f.Emit(sops.FormatOf(file)); err != nil || string(got) != s.Decrypt(t, file, sealed) {
					t.Errorf("%s: %v, got\n%s", file, err, got)
				}
			}
		})
	}
	s.Configure(t, "groups.yaml", "creation_rules:\n"+fmt.Sprintf(configurations["two of three groups"], s.Age, s.PGP, s.Stranger))
	sealed := s.Encrypt(t, "a.yaml", configuration, "--config", "groups.yaml")
	for name, change := range map[string]string{
		"more shares than there are": "shamir_threshold: 3", "no number": "shamir_threshold: x",
	} {
		changed := strings.Replace(sealed, "shamir_threshold: 2", change, 1)
		_, err := keys.Open([]byte(changed), sops.YAML)
		if changed == sealed || errors.Is(err, sops.ErrNoKey) != (name == "more shares than there are") {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.Configure(t, "groups.yaml", "creation_rules:\n"+fmt.Sprintf("- shamir_threshold: 3\n  key_groups:\n  - age: [%[1]s]\n  - pgp: [%[2]s]\n  - age: [%[3]s]\n", s.Age, s.PGP, s.Stranger))
	sealed = s.Encrypt(t, "a.yaml", configuration, "--config", "groups.yaml")
	if f, err := keys.Open([]byte(strings.Replace(sealed, "shamir_threshold: 3", "shamir_threshold: 2", 1)), sops.YAML); err == nil || errors.Is(err, sops.ErrNoKey) {
		t.Errorf("with fewer shares than it takes: %v, %v", f, err)
	}
}

// TestDocumentsEncryptedOneByOne: people put them into one file, and Flux decrypts them one by one.
func TestDocumentsEncryptedOneByOne(t *testing.T) {
	s, keys := newTool(t)
	regex := []string{"--encrypted-regex", "^(data|stringData)$"}
	one := s.Encrypt(t, "a.yaml", secret, append(regex, "--age", s.Age)...)
	two := s.Encrypt(t, "b.yaml", strings.ReplaceAll(secret, "correct", "incorrect"), append(regex, "--pgp", s.PGP)...)
	foreign := s.Encrypt(t, "c.yaml", secret, append(regex, "--age", s.Stranger)...)
	f, err := keys.Open([]byte(one+"---\nkind: ConfigMap\ndata: {a: b}\n---\n"+two+"---\n"+foreign), sops.YAML)
	if err != nil {
		t.Fatal(err)
	}
	plain := map[any]bool{}
	for _, v := range f.Values {
		plain[v] = true
	}
	if len(f.Values) != 6 || !plain["correct horse: battery"] || !plain["incorrect horse: battery"] {
		t.Errorf("%d values are opened", len(f.Values))
	}
	if out, err := f.Emit(sops.YAML); err == nil {
		t.Errorf("written as\n%s", out)
	}
	if _, err := keys.Open([]byte(one+"---\n"+strings.Replace(two, "name: db", "name: admin", 1)), sops.YAML); !errors.Is(err, sops.ErrMAC) {
		t.Errorf("a change of the second: %v", err)
	}
	together := s.Encrypt(t, "a.yaml", secret+"---\n"+secret, append(regex, "--age", s.Age)...)
	first, _, _ := strings.Cut(together, "\n---\n")
	if _, err := keys.Open([]byte(first), sops.YAML); !errors.Is(err, sops.ErrMAC) {
		t.Errorf("the second of two that were encrypted together is gone: %v", err)
	}
}

// TestChangedWithoutSOPS: whoever can push, but has no key, edits an encrypted file by hand.
func TestChangedWithoutSOPS(t *testing.T) {
	s, keys := newTool(t)
	regex := []string{"--age", s.Age, "--encrypted-regex", "^(data|stringData)$"}
	sealed := s.Encrypt(t, "a.yaml", secret, regex...)
	other := s.Encrypt(t, "b.yaml", strings.Replace(secret, "correct horse", "incorrect horse", 1), regex...)
	value := regexp.MustCompile(`password: (ENC\[.*\])`)
	line := func(field string) int {
		return 1 + strings.Count(sealed[:strings.Index(sealed, field)], "\n")
	}
	tests := map[string]struct {
		data string
		line int
		mac  bool
	}{
		"a value in the clear is changed":             {strings.Replace(sealed, "name: db", "name: admin", 1), line("sops:"), true},
		"a value in the clear is added":               {strings.Replace(sealed, "type: Opaque", "type: Opaque\nimmutable: true", 1), line("sops:") + 1, true},
		"an encrypted value is taken away":            {regexp.MustCompile(`(?m)^ +empty:.*\n +pem:.*\n`).ReplaceAllString(sealed, "    empty: \"\"\n"), line("sops:") - 1, true},
		"an encrypted value is put in clear text":     {value.ReplaceAllString(sealed, "password: known"), line("password"), false},
		"an encrypted value comes from another file":  {value.ReplaceAllString(sealed, "password: "+value.FindStringSubmatch(other)[1]), line("password"), false},
		"an encrypted value is moved to another name": {strings.Replace(sealed, "    password:", "    elsewhere:", 1), line("password"), false},
		"the MAC is taken away":                       {regexp.MustCompile(`(?m)^ +mac: .*\n`).ReplaceAllString(sealed, ""), line("sops:"), true},
		"the MAC is another file's":                   {regexp.MustCompile(`mac: .*`).ReplaceAllString(sealed, regexp.MustCompile(`mac: .*`).FindString(other)), line("sops:"), true},
		"the time is changed, which the MAC covers":   {regexp.MustCompile(`lastmodified: .*`).ReplaceAllString(sealed, `lastmodified: "2020-01-01T00:00:00Z"`), line("sops:"), true},
		"the rule is widened":                         {strings.Replace(sealed, "^(data|stringData)$", "^data$", 1), line("sops:"), true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if test.data == sealed {
				t.Fatal("nothing was changed")
			}
			_, err := keys.Open([]byte(test.data), sops.YAML)
			var at *sops.Error
			if !errors.As(err, &at) || at.Line != test.line || errors.Is(err, sops.ErrMAC) != test.mac {
				t.Errorf("%v, wanted line %d of\n%s", err, test.line, test.data)
			}
		})
	}
}

func TestClosedFiles(t *testing.T) {
	s, keys := newTool(t)
	s.Configure(t, "groups.yaml", fmt.Sprintf("creation_rules:\n- shamir_threshold: 3\n  key_groups:\n  - age: [%s]\n  - pgp: [%s]\n  - age: [%s]\n", s.Age, s.PGP, s.Stranger))
	stranger := []byte(s.Encrypt(t, "a.yaml", secret, "--age", s.Stranger))
	mine := []byte(s.Encrypt(t, "a.yaml", secret, "--age", s.Age))
	var none *sops.Keys
	tests := map[string]struct {
		keys *sops.Keys
		data []byte
	}{
		"for somebody else": {keys, stranger},
		"without any key":   {none, mine},
		"for three people together, of whom one is a stranger": {keys, []byte(s.Encrypt(t, "a.yaml", secret, "--config", "groups.yaml"))},
		"without a usable recipient, and a MAC that nobody can check": {keys,
			regexp.MustCompile(`(?s)-----BEGIN AGE.*END AGE ENCRYPTED FILE-----`).ReplaceAll(mine, []byte("nothing"))},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if f, err := test.keys.Open(test.data, sops.YAML); !errors.Is(err, sops.ErrNoKey) || f != nil {
				t.Errorf("got %v, %v", f, err)
			}
		})
	}
}

func TestRefusedFiles(t *testing.T) {
	const metadata = "sops:\n  lastmodified: \"2026-11-21T00:00:00Z\"\n  mac: ENC[x]\n"
	tests := map[string]struct {
		as         sops.Format
		data, want string
	}{
		"no metadata":                    {sops.YAML, "a: b\n", "it has no metadata of SOPS"},
		"metadata that is no map":        {sops.YAML, "a: b\nsops: c\n", "line 2: sops is no map"},
		"metadata twice":                 {sops.JSON, "{\"sops\": {},\n\"sops\": {}}", "line 2: the key sops stands twice"},
		"no time":                        {sops.YAML, "sops:\n  mac: x\n", "line 1: sops: lastmodified is no time"},
		"a rule by comments":             {sops.YAML, metadata + "  encrypted_comment_regex: x\n", "line 1: sops: encrypted_comment_regex: comments do not reach where objects are decrypted: use a rule by keys"},
		"two rules":                      {sops.YAML, metadata + "  encrypted_regex: x\n  encrypted_suffix: y\n", "line 1: sops: more than one rule says what is encrypted"},
		"a rule that is no expression":   {sops.YAML, metadata + "  encrypted_regex: (\n", "line 1: sops: encrypted_regex: error parsing regexp: missing closing ): `(`"},
		"a document that is a list":      {sops.YAML, "- a\n", "line 1: a document that is no map"},
		"a key that is no text":          {sops.YAML, "1: a\n", "line 1: a key that is not text"},
		"no YAML":                        {sops.YAML, "a: [\n", "no YAML"},
		"no JSON":                        {sops.JSON, "{\"a\":\n x}", "line 2: no JSON"},
		"no dotenv":                      {sops.Dotenv, "A=b\nsecret\n", "line 2: a line that is no KEY=value"},
		"INI without metadata":           {sops.INI, "[a]\n", "it has no metadata of SOPS"},
		"no INI":                         {sops.INI, "[a\nb", "no INI"},
		"aliases that grow without end":  {sops.YAML, "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n", "line 1: more values, or nested deeper, than is opened"},
		"a flat list of too many people": {sops.Dotenv, "sops_age__list_999999999__map_enc=x\nsops_lastmodified=2026-11-21T00:00:00Z\n", sops.ErrNoKey.Error()},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := (&sops.Keys{}).Open([]byte(test.data), test.as); err == nil || err.Error() != test.want {
				t.Errorf("got %v, wanted %s", err, test.want)
			}
		})
	}
}

func TestLoadRefuses(t *testing.T) {
	const canary = "AGE-SECRET-KEY-1CANARY"
	tests := map[string]struct {
		files map[string]string
		want  string
	}{
		"a folder without keys":         {map[string]string{"README": "x"}, "holds no *.agekey and no *.asc"},
		"an age file that holds none":   {map[string]string{"a.agekey": canary + "\n"}, "a.agekey: no age identities"},
		"an OpenPGP file that is none":  {map[string]string{"a.asc": canary + "\n"}, "a.asc: no armored OpenPGP keys"},
		"a file larger than keys could": {map[string]string{"a.agekey": strings.Repeat("#\n", 1<<20)}, "a.agekey: larger than 1048576 bytes"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for name, content := range test.files {
				write(t, filepath.Join(dir, name), content)
			}
			_, err := sops.Load(dir)
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), canary) {
				t.Errorf("got %v, wanted %s", err, test.want)
			}
		})
	}
}

// FuzzOpen: whatever stands in a file, it opens or it does not, and nothing without a key.
func FuzzOpen(f *testing.F) {
	f.Add([]byte("a: ENC[AES256_GCM,data:eA==,iv:eA==,tag:eA==,type:str]\nsops:\n  age:\n  - enc: x\n  lastmodified: \"2026-11-21T00:00:00Z\"\n  mac: y\n"), int(sops.YAML))
	f.Add([]byte(`{"data": "ENC[]", "sops": {"key_groups": [{"pgp": [{"enc": "x"}]}, {}], "lastmodified": "2026-11-21T00:00:00Z", "mac_only_encrypted": true}}`), int(sops.Binary))
	f.Add([]byte("A=b\nsops_age__list_0__map_enc=x\nsops_lastmodified=2026-11-21T00:00:00Z\nsops_key_groups__list_0__map_pgp__list_0__map_enc=x\n"), int(sops.Dotenv))
	f.Add([]byte("a: &a [*a]\n<<: {b: c}\n? [x]\n: y\n"), int(sops.YAML))
	f.Add([]byte("[a]\nb=c\n"), int(sops.INI))
	f.Fuzz(func(t *testing.T, data []byte, format int) {
		if opened, err := (&sops.Keys{}).Open(data, sops.Format(format)); err == nil || opened != nil {
			t.Errorf("opened without a key: %v", opened)
		}
	})
}
