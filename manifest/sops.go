package manifest

import (
	"maps"
	"slices"
	"strings"
)

// opaque takes the bookkeeping of SOPS out of an object and returns the paths of the values that it holds encrypted
// (getsops.io: ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]); nil if the object is not encrypted.
func (o *Object) takeOpaque() []string {
	sops := childMap(o.Content, "sops")
	if sops["mac"] == nil && sops["version"] == nil {
		return nil
	}
	o.Content = maps.Clone(o.Content)
	delete(o.Content, "sops")
	var paths []string
	encryptedPaths(o.Content, nil, &paths)
	slices.Sort(paths)
	return slices.Compact(paths)
}

// encryptedPaths finds the encrypted leaves. Items of a list are not told apart: any of them may be.
func encryptedPaths(v any, at []string, found *[]string) {
	switch v := v.(type) {
	case map[string]any:
		for k, below := range v {
			encryptedPaths(below, append(at[:len(at):len(at)], k), found)
		}
	case []any:
		for _, below := range v {
			encryptedPaths(below, append(at[:len(at):len(at)], "*"), found)
		}
	case string:
		if strings.HasPrefix(v, "ENC[AES256_GCM,") && strings.HasSuffix(v, "]") {
			*found = append(*found, fieldPath(at))
		}
	}
}
