package manifest

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// fieldOfPointer is a JSON pointer (RFC 6901) as a pattern of field paths: the field and everything below.
func fieldOfPointer(pointer string) string {
	var b strings.Builder
	for i, part := range strings.Split(strings.TrimPrefix(pointer, "/"), "/") {
		part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		if _, err := strconv.Atoi(part); err == nil {
			part = "*" // an index: lists are told apart by their keys, so any item
		}
		writeField(&b, i, part)
	}
	return b.String() + "**"
}

// fieldPath writes a field path.
func fieldPath(steps []string) string {
	var b strings.Builder
	for i, step := range steps {
		writeField(&b, i, step)
	}
	return b.String()
}

// ofAnyItem are paths in which no list item is told from the others: after a patch they may stand in other places.
func ofAnyItem(paths []string) []string {
	var wide []string
	for _, p := range paths {
		wide = append(wide, regexp.MustCompile(`\[\d+\]`).ReplaceAllString(p, "[*]"))
	}
	slices.Sort(wide)
	return slices.Compact(wide)
}

// writeField adds a step to a field path: .name where it reads as one, [name] where it does not, quoted where it must be.
func writeField(b *strings.Builder, i int, name string) {
	switch {
	case name == "" || strings.ContainsFunc(name, func(c rune) bool { return strings.ContainsRune(`[]"`, c) || !unicode.IsPrint(c) }):
		b.WriteString("[" + strconv.Quote(name) + "]")
	case name == "*" || !plainName().MatchString(name):
		b.WriteString("[" + name + "]")
	case i > 0:
		b.WriteString("." + name)
	default:
		b.WriteString(name)
	}
}

func plainName() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`) }

// fieldOfJQ is the field that a jq path expression of plain steps names: .spec.replicas, .spec.containers[].image,
// .metadata.annotations["a/b"], .spec.containers[] | select(...) | .image. What else jq can say is not understood, and then nothing is ignored.
func fieldOfJQ(expression string) (string, bool) {
	var b strings.Builder
	steps := 0
	for i, part := range strings.Split(expression, "|") {
		part = strings.TrimSpace(part)
		if i > 0 && strings.HasPrefix(part, "select(") && strings.HasSuffix(part, ")") {
			continue // which items: any is wider
		}
		for part != "" && part != "." {
			step := jqStep().FindStringSubmatch(part)
			if step == nil {
				return "", false
			}
			part = part[len(step[0]):]
			switch name := step[1] + step[2]; {
			case name != "":
				writeField(&b, steps, name)
			default:
				b.WriteString("[*]")
			}
			steps++
		}
	}
	return b.String() + "**", steps > 0
}

func jqStep() *regexp.Regexp {
	return regexp.MustCompile(`^(?:\.([A-Za-z_][A-Za-z0-9_]*)\??|\.?\["([^"\\]+)"\]\??|\.?\[\d*\]\??)`)
}

// mergeInto lays a map over the JSON form of a value, map by map (RFC 7396).
func mergeInto(into any, over map[string]any) error {
	data, err := json.Marshal(into)
	if err != nil {
		return err
	}
	var base map[string]any
	if err := json.Unmarshal(data, &base); err != nil {
		return err
	}
	if data, err = json.Marshal(mergePatch(base, over)); err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

func mergePatch(base, over map[string]any) map[string]any {
	if base == nil {
		base = map[string]any{}
	}
	for k, v := range over {
		switch v := v.(type) {
		case nil:
			delete(base, k)
		case map[string]any:
			below, _ := base[k].(map[string]any)
			base[k] = mergePatch(below, v)
		default:
			base[k] = v
		}
	}
	return base
}
