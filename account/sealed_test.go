package account

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/compact"
)

// TestSealedValues: what Git holds encrypted is explained by the decrypted value alone where that is known, and by nothing else.
func TestSealedValues(t *testing.T) {
	types := builtinTypes(t)
	sealer := NewSealer()
	encoded := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	const cipher = "ENC[AES256_GCM,data:x,iv:x,tag:x,type:str]"
	seals := map[string]Seal{cipher: sealer.Bytes([]byte("known"))}
	const secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: ns}\ntype: Opaque\n"
	pod := func(port string) string {
		return "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: ns}\nspec: {containers: [{name: a, image: i, ports: [" + port + "]}]}\n"
	}
	tests := map[string]struct {
		declared, live, old string
		opaque              []string
		seals               map[string]Seal
		faithful, decrypted bool
		shape               bool
	}{
		"the decrypted value, which Git declares as text": {
			declared: secret + "stringData: {a: \"" + cipher + "\"}", live: secret + "data: {a: " + encoded("known") + "}",
			opaque: []string{"stringData.a"}, seals: seals, faithful: true, decrypted: true},
		"the decrypted value, which Git declares in base64": {
			declared: secret + "data: {a: \"" + cipher + "\"}", live: secret + "data: {a: " + encoded("known") + "}",
			opaque: []string{"data.a"}, seals: seals, faithful: true, decrypted: true},
		"another value": {
			declared: secret + "stringData: {a: \"" + cipher + "\"}", live: secret + "data: {a: " + encoded("other") + "}",
			opaque: []string{"stringData.a"}, seals: seals},
		"another value that was there before: drift is no reason": {
			declared: secret + "stringData: {a: \"" + cipher + "\"}", live: secret + "data: {a: " + encoded("other") + "}", old: secret + "data: {a: " + encoded("other") + "}",
			opaque: []string{"stringData.a"}, seals: seals},
		"the encrypted text itself": {
			declared: secret + "stringData: {a: \"" + cipher + "\"}", live: secret + "data: {a: " + encoded(cipher) + "}",
			opaque: []string{"stringData.a"}, seals: seals},
		"no value": {
			declared: secret + "stringData: {a: \"" + cipher + "\"}", live: secret, opaque: []string{"stringData.a"}, seals: seals},
		"another value, where no key was at hand": {
			declared: secret + "stringData: {a: \"" + cipher + "\"}", live: secret + "data: {a: " + encoded("other") + "}",
			opaque: []string{"stringData.a"}, faithful: true, shape: true},
		"a value of one key and one of another": {
			declared: secret + "stringData: {a: \"" + cipher + "\", b: \"ENC[]\"}", live: secret + "data: {a: " + encoded("known") + ", b: " + encoded("any") + "}",
			opaque: []string{"stringData.a", "stringData.b"}, seals: seals, faithful: true, decrypted: true, shape: true},
		"in an item of a list, of whose keys one is a default": {
			declared: pod("{containerPort: 80, hostIP: \"" + cipher + "\"}"), live: pod("{containerPort: 80, protocol: TCP, hostIP: known}"),
			opaque: []string{"spec.containers[*].ports[*].hostIP"}, seals: seals, faithful: true, decrypted: true},
		"in an item of a list, another one": {
			declared: pod("{containerPort: 80, hostIP: \"" + cipher + "\"}"), live: pod("{containerPort: 80, protocol: TCP, hostIP: other}"),
			opaque: []string{"spec.containers[*].ports[*].hostIP"}, seals: seals},
		"an item by its place": {
			declared: pod("{containerPort: 80, hostIP: 1.1.1.1}, {containerPort: 81, hostIP: \"" + cipher + "\"}"),
			live:     pod("{containerPort: 80, protocol: TCP, hostIP: 1.1.1.1}, {containerPort: 81, protocol: TCP, hostIP: any}"),
			opaque:   []string{"spec.containers[0].ports[1].hostIP"}, faithful: true, shape: true},
		"the same field of the item beside it": {
			declared: pod("{containerPort: 80, hostIP: 1.1.1.1}, {containerPort: 81, hostIP: \"" + cipher + "\"}"),
			live:     pod("{containerPort: 80, protocol: TCP, hostIP: any}, {containerPort: 81, protocol: TCP, hostIP: any}"),
			opaque:   []string{"spec.containers[0].ports[1].hostIP"}},
		"a number": {
			declared: pod("{containerPort: 80, hostPort: \"" + cipher + "\"}"), live: pod("{containerPort: 80, protocol: TCP, hostPort: 8080}"),
			opaque: []string{"spec.containers[*].ports[*].hostPort"}, seals: map[string]Seal{cipher: sealer.Seal(8080.0)}, faithful: true, decrypted: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			object := declare(t, types, Declaration{Content: compact.Of(parse(t, test.declared)), Opaque: test.opaque, Sealed: sealer.Sealed(test.seals)})
			change := Change{Object: parse(t, test.live)}
			if test.old != "" {
				change.Old = parse(t, test.old)
			}
			r := object.Explain(change)
			if r.Faithful() != test.faithful || test.faithful && (r.Decrypted != test.decrypted || r.Opaque != test.shape) {
				t.Errorf("%+v", r)
			}
			if test.faithful {
				return
			}
			if fields := slices.Concat(r.Unexplained, r.Missing); strings.Contains(fmt.Sprint(fields), "other") {
				t.Errorf("a value is told: %q", fields)
			}
		})
	}
}

func TestSealsTellNothing(t *testing.T) {
	a, b := NewSealer(), NewSealer()
	if a.Seal("x") == b.Seal("x") {
		t.Error("two processes make the same seals: they could be tried against")
	}
	if a.Seal("x") != a.Seal("x") || a.Seal("x") == a.Seal("y") || a.Seal(1) != a.Seal(int64(1)) || a.Seal(1.0) != a.Seal(1) {
		t.Error("seals do not compare")
	}
	s := a.Sealed(map[string]Seal{"ENC[]": a.Seal("x")})
	if got := fmt.Sprintf("%v %s", s, s); got != "sealed sealed" {
		t.Errorf("printed as %s", got)
	}
}
