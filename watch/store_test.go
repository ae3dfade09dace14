package watch

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/commitgate/commitgate/policy"
)

// A reflector writes an object for which there is no room into the log of the process, whole, if it is told that there is none.
func TestNoObjectIsLoggedForWhichThereIsNoRoom(t *testing.T) {
	var log bytes.Buffer
	ended := 0
	s := &store{into: policy.NewInventory(1), kind: policy.Kind{Version: "v1", Kind: "Secret"}, log: slog.New(slog.NewTextHandler(&log, nil)), full: func() { ended++ }}
	secret := func(name string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": name}, "data": map[string]any{"password": "canary"}}}
	}
	for what, err := range map[string]error{
		"no room for a new one":     s.Add(secret("db")),
		"no room for a changed one": s.Update(secret("db")),
		"one without a name":        s.Add(secret("")),
		"something else":            s.Delete("canary"),
	} {
		if err != nil {
			t.Errorf("%s: the reflector is told %v", what, err)
		}
	}
	if ended != 2 || strings.Count(log.String(), "is full") != 2 || strings.Count(log.String(), "does not have a change") != 2 {
		t.Errorf("the watch was ended %d times:\n%s", ended, &log)
	}
	if strings.Contains(log.String(), "canary") {
		t.Errorf("an object was logged:\n%s", &log)
	}
}
