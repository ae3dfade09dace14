package manifest

import (
	"cmp"
	"encoding/base64"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/commitgate/commitgate/git"
)

// minSecret is the least length of a text that is left out of a message, in bytes: a shorter one would take the message apart.
const minSecret = 3

// secretTexts gathers what must stand in no message: kustomize quotes the literal, the line or the patch that it does not understand, and its messages
// end in logs, in status and in records.
type secretTexts struct {
	k     *kustomizer
	found map[string]bool
}

// withoutSecrets leaves out of a message all that Secrets and their generators and patches hold, in the files that were read.
func (k *kustomizer) withoutSecrets(message string) string {
	s := &secretTexts{k, map[string]bool{}}
	for _, p := range sortedPaths(k.seen) {
		if ext := path.Ext(string(p)); slices.Contains(kustomizationNames[:], path.Base(string(p))) || slices.Contains([]string{".yaml", ".yml", ".json"}, ext) {
			s.file(p)
		}
	}
	longest := slices.SortedFunc(maps.Keys(s.found), func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	for _, text := range longest {
		message = strings.ReplaceAll(message, text, "…")
	}
	return message
}

// file gathers from a file of objects, patches or kustomizations. Of one that cannot be read, the first message says that alone.
func (s *secretTexts) file(p git.Path) {
	data, err := fs.ReadFile(s.k.tree, string(p))
	if err != nil {
		return
	}
	docs, err := parse(p, data, dialectKustomize)
	if err != nil {
		s.add(string(data))
		return
	}
	for _, doc := range docs {
		s.object(doc.content.Map())
		for _, item := range listOf(doc.content.At("secretGenerator")) {
			generator, _ := item.(map[string]any)
			s.generator(string(p), generator)
		}
		for _, field := range []string{"patches", "patchesStrategicMerge", "patchesJson6902"} {
			for _, item := range listOf(doc.content.At(field)) {
				s.patch(item)
			}
		}
	}
}

// object gathers the values of a Secret, and of the items of a list of JSON patches.
func (s *secretTexts) object(content map[string]any) {
	if text(content, "kind") == "Secret" {
		s.all(content["data"])
		s.all(content["stringData"])
	}
	for _, item := range listOf(content["items"]) {
		if below, ok := item.(map[string]any); ok {
			s.object(below)
		}
	}
}

func (s *secretTexts) generator(kustomization string, generator map[string]any) {
	for _, literal := range listOf(generator["literals"]) {
		if t, ok := literal.(string); ok {
			s.pair(t)
		}
	}
	for _, file := range slices.Concat(listOf(generator["envs"]), listOf(generator["files"]), []any{generator["env"]}) {
		name, _ := file.(string)
		if _, after, ok := strings.Cut(name, "="); ok {
			name = after
		}
		data, err := fs.ReadFile(s.k.tree, path.Join(path.Dir(kustomization), name))
		if name == "" || err != nil {
			continue
		}
		s.add(string(data))
		for line := range strings.SplitSeq(string(data), "\n") {
			s.pair(strings.TrimSpace(line))
		}
	}
}

// pair is KEY=value, or something that should have been.
func (s *secretTexts) pair(text string) {
	s.add(text)
	if _, value, ok := strings.Cut(text, "="); ok {
		s.add(value)
		s.add(strings.Trim(value, `"'`))
	}
}

// patch gathers what an inline patch of a Secret holds, and all of one that says nothing of what it patches, or that cannot be read.
func (s *secretTexts) patch(item any) {
	written, _ := item.(string)
	if m, ok := item.(map[string]any); ok {
		written = text(m, "patch")
		if kind := text(childMap(m, "target"), "kind"); kind != "" && kind != "Secret" {
			return
		}
	}
	if !strings.Contains(written, "\n") && !strings.ContainsAny(written, "{[") {
		return // a file
	}
	s.add(written)
	var operations []map[string]any
	if yaml.Unmarshal([]byte(written), &operations) == nil {
		for _, op := range operations {
			s.all(op["value"])
		}
		return
	}
	docs, err := parse("patch", []byte(written), dialectKustomize)
	if err != nil {
		for line := range strings.SplitSeq(written, "\n") {
			s.add(line)
			if _, value, ok := strings.Cut(line, ": "); ok {
				s.add(strings.Trim(value, ` "'{}`))
			}
		}
		return
	}
	for _, doc := range docs {
		s.object(doc.content.Map())
	}
}

// all gathers every text of a value.
func (s *secretTexts) all(v any) {
	walkTexts(v, nil, func(_ []string, t string) {
		s.add(t)
		if plain, err := base64.StdEncoding.DecodeString(t); err == nil {
			s.add(string(plain))
		}
	})
}

// add gathers a text as it stands, quoted, in base64, and line by line.
func (s *secretTexts) add(t string) {
	if t = strings.TrimSpace(t); len(t) < minSecret {
		return
	}
	s.found[t] = true
	quoted := strconv.Quote(t)
	s.found[quoted[1:len(quoted)-1]] = true
	s.found[base64.StdEncoding.EncodeToString([]byte(t))] = true
}
