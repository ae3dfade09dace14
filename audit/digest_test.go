package audit

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/compact"
)

func TestDigestsAreKeyedByLogAndShard(t *testing.T) {
	master := bytes.Repeat([]byte("k"), 32)
	d, err := NewDigester(master, "gate/a")
	if err != nil {
		t.Fatal(err)
	}
	other, _ := NewDigester(master, "gate/b")
	s := d.Sum("2026-Q4", []byte("hunter2"))
	if !d.Matches("2026-Q4", s, []byte("hunter2")) || d.Matches("2026-Q4", s, []byte("hunter3")) {
		t.Error("a value does not match its own digest, or another does")
	}
	if s == d.Sum("2027-Q1", []byte("hunter2")) || s == other.Sum("2026-Q4", []byte("hunter2")) {
		t.Error("digests of two shards or logs can be compared")
	}
	if _, err := NewDigester(master[:31], "gate/a"); err == nil {
		t.Error("a short key was taken")
	}
}

func TestTheDigestOfAnObjectLeavesOutWhatIsNotTheObject(t *testing.T) {
	d, _ := NewDigester(bytes.Repeat([]byte("k"), 32), "gate/a")
	plain, err := d.Object("s", []byte(`{"kind":"Secret","metadata":{"name":"x"},"data":{"n":1234567890123456789}}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, object := range map[string]string{
		"other order":   `{"data":{"n":1234567890123456789},"metadata":{"name":"x"},"kind":"Secret"}`,
		"managedFields": `{"kind":"Secret","metadata":{"name":"x","managedFields":[{"manager":"kubectl"}]},"data":{"n":1234567890123456789}}`,
		"last applied":  `{"kind":"Secret","metadata":{"name":"x","annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{}"}},"data":{"n":1234567890123456789}}`,
	} {
		if got, err := d.Object("s", []byte(object)); err != nil || got != plain {
			t.Errorf("%s: %s, %v; want %s", name, got, err, plain)
		}
	}
	if got, _ := d.Object("s", []byte(`{"kind":"Secret","metadata":{"name":"x"},"data":{"n":1234567890123456788}}`)); got == plain {
		t.Error("another object has the same digest")
	}
	if _, err := d.Object("s", []byte(`hunter2`)); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("an error that quotes the value: %v", err)
	}
}

// TestTheDigestOfARecordIsThatOfTheCommandLine: what an auditor computes from `kubectl get -o json` is what the record holds.
func TestTheDigestOfARecordIsThatOfTheCommandLine(t *testing.T) {
	l := open(t, testConfig(t))
	d, err := NewDigester([]byte("0123456789abcdef0123456789abcdef"), "gate.test/a")
	if err != nil {
		t.Fatal(err)
	}
	text := `{"kind":"Secret","metadata":{"name":"db","managedFields":[{}],"annotations":{"` + lastApplied + `":"x"}},"data":{"p":"eA=="},"n":3,"f":1.5}`
	var object map[string]any
	if err := json.Unmarshal([]byte(text), &object); err != nil {
		t.Fatal(err)
	}
	want, err := d.Object(l.Shard(), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	of := LogDigester{d, l}
	if got := of.Digest(object); got != want || of.Digest(nil) != "" {
		t.Errorf("%s, want %s", got, want)
	}
	if meta := object["metadata"].(map[string]any); meta["managedFields"] == nil || meta["annotations"] == nil {
		t.Error("the object of the request was changed")
	}
	for _, text := range []string{
		text, `{}`, `{"kind":"Secret","metadata":{"name":"db"},"data":{"p":"<&>é"},"n":3,"f":1.5}`, `{"metadata":{"annotations":{}}}`, `{"metadata":{"managedFields":null}}`,
		`{"metadata":{"name":"a"},"data":{"file":"\"managedFields\": ` + lastApplied + `"}}`,
	} {
		var object map[string]any
		if err := json.Unmarshal([]byte(text), &object); err != nil {
			t.Fatal(err)
		}
		if got, want := of.Declared(compact.Of(object)), of.Digest(object); got != want {
			t.Errorf("declared %s: %s, want %s", text, got, want)
		}
	}
	if of.Declared(compact.Object{}) != "" {
		t.Error("a digest of nothing")
	}
}
