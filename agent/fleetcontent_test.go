package agent

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"strings"
	"testing"
)

func packed(t testing.TB, text string) string {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(out.Bytes())
}

// What Fleet keeps of a bundle is plain where it is text, and packed where it is not or is much.
func TestFilesOfABundleAreUnpacked(t *testing.T) {
	resources := `{"resources":[{"name":"a.yaml","content":"a: 1"},{"name":"b.bin","content":"` + packed(t, "\xff\x00") + `","encoding":"base64+gz"}]}`
	files, err := FleetContentResources(packed(t, resources))
	if err != nil || len(files) != 2 || files[0].Name != "a.yaml" || string(files[0].Data) != "a: 1" || string(files[1].Data) != "\xff\x00" {
		t.Errorf("%v %v", files, err)
	}
	files, err = FleetBundleResources(map[string]any{"resources": []any{map[string]any{"name": "a.yaml", "content": "a: 1"}}})
	if err != nil || len(files) != 1 || string(files[0].Data) != "a: 1" {
		t.Errorf("%v %v", files, err)
	}
	bomb := `{"resources":[{"name":"a","content":"` + packed(t, strings.Repeat("0", maxFleetContent)) + `","encoding":"base64+gz"}]}`
	for name, content := range map[string]string{
		"no base64": "!", "not packed": "YQ==", "no JSON": packed(t, "{"), "a bomb": packed(t, bomb),
		"another encoding": packed(t, `{"resources":[{"name":"a","content":"a","encoding":"zstd"}]}`),
		"a bad resource":   packed(t, `{"resources":[{"name":"a","content":"a","encoding":"base64+gz"}]}`),
	} {
		if _, err := FleetContentResources(content); err == nil {
			t.Errorf("%s is read", name)
		}
	}
	if _, err := FleetBundleResources(map[string]any{"resources": "none"}); err == nil {
		t.Error("resources that are no list are read")
	}
}

func FuzzFleetContent(f *testing.F) {
	f.Add(packed(f, `{"resources":[{"name":"a.yaml","content":"a: 1"}]}`))
	f.Add(packed(f, `{"resources":[{"name":"a","content":"`+packed(f, "x")+`","encoding":"base64+gz"}]}`))
	f.Add("")
	f.Fuzz(func(t *testing.T, content string) {
		files, err := FleetContentResources(content)
		if err != nil && files != nil {
			t.Errorf("files with an error: %v", err)
		}
	})
}
