package sops

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// metadata is what SOPS writes into a file of its own (sops: in YAML and JSON, sops_… in dotenv).
type metadata struct {
	groups    []group // of keys, each of which opens the data key, or a share of it where there are several
	threshold int     // how many shares it takes
	modified  time.Time
	mac       string
	macLine   int
	// onlyEncrypted: the MAC covers the values that are encrypted, not the others.
	onlyEncrypted bool
	rule          rule
}

// group are recipients of whom any one will do.
type group struct{ age, pgp []recipient }

// recipient is a key to which the data key, or a share of it, is encrypted.
type recipient struct{ enc string }

// rule says which values are encrypted; at most one field is set.
type rule struct {
	unencryptedSuffix, encryptedSuffix string
	unencryptedRegex, encryptedRegex   *regexp.Regexp
}

// encrypted judges a value by the keys above it. Items of a list have no key of their own.
func (r *rule) encrypted(path []string) bool {
	found := func(matches func(string) bool) bool {
		for _, key := range path {
			if matches(key) {
				return true
			}
		}
		return false
	}
	switch {
	case r.encryptedSuffix != "":
		return found(func(key string) bool { return strings.HasSuffix(key, r.encryptedSuffix) })
	case r.encryptedRegex != nil:
		return found(r.encryptedRegex.MatchString)
	case r.unencryptedRegex != nil:
		return !found(r.unencryptedRegex.MatchString)
	}
	return !found(func(key string) bool { return strings.HasSuffix(key, r.unencryptedSuffix) })
}

// takeMetadata takes the metadata out of the documents of a file. Those of the first count; SOPS repeats them in each.
func takeMetadata(branches []branch, as Format) (*metadata, error) {
	var fields map[string]any
	line := 0
	for i, b := range branches {
		var rest branch
		for _, it := range b {
			own, ok := it.key, it.key == "sops"
			if as == Dotenv {
				own, ok = strings.CutPrefix(it.key, "sops_")
			}
			switch {
			case !ok || it.comment:
				rest = append(rest, it)
				continue
			case i > 0:
				continue
			case fields != nil && as != Dotenv:
				return nil, errorf(it.line, "the key sops stands twice")
			}
			line = it.line
			if as == Dotenv {
				if fields == nil {
					fields = map[string]any{}
				}
				fields[own] = it.value
				continue
			}
			below, ok := it.value.(branch)
			if !ok {
				return nil, errorf(it.line, "sops is no map")
			}
			fields = below.plain()
			if as == INI {
				fields = flatFields(fields)
			}
		}
		branches[i] = rest
	}
	if fields == nil {
		return nil, errorf(0, "it has no metadata of SOPS")
	}
	if as == Dotenv {
		fields = unflatten(fields)
	}
	m, err := metadataOf(fields)
	if err != nil {
		return nil, errorf(line, "sops: %w", err)
	}
	m.macLine = line
	return m, nil
}

// metadataOf reads the fields that decryption goes by. A field of another type than it should have counts as absent, and so the MAC fails.
func metadataOf(fields map[string]any) (*metadata, error) {
	m := &metadata{}
	own := groupOf(fields)
	shared, _ := fields["key_groups"].([]any)
	if len(own.age)+len(own.pgp) > 0 || len(shared) == 0 {
		m.groups = []group{own}
	} else {
		for _, item := range shared[:min(len(shared), maxRecipients)] {
			below, _ := item.(map[string]any)
			m.groups = append(m.groups, groupOf(below))
		}
	}
	switch v := fields["shamir_threshold"].(type) {
	case int:
		m.threshold = v
	case string:
		m.threshold, _ = strconv.Atoi(v) // in a flat format
	}
	m.mac, _ = fields["mac"].(string)
	switch v := fields["mac_only_encrypted"].(type) {
	case bool:
		m.onlyEncrypted = v
	case string:
		m.onlyEncrypted = v == "true"
	}
	switch v := fields["lastmodified"].(type) {
	case time.Time:
		m.modified = v
	case string:
		var err error
		if m.modified, err = time.Parse(time.RFC3339, v); err != nil {
			return nil, errors.New("lastmodified is no time")
		}
	default:
		return nil, errors.New("lastmodified is no time")
	}
	return m, m.readRule(fields)
}

// readRule finds out what is encrypted. Rules by comments are refused: comments are not there any more where Flux decrypts an object.
func (m *metadata) readRule(fields map[string]any) error {
	rules := 0
	expression := func(name string) (*regexp.Regexp, error) {
		s, _ := fields[name].(string)
		if s == "" {
			return nil, nil
		}
		rules++
		re, err := regexp.Compile(s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return re, nil
	}
	for _, name := range []string{"encrypted_comment_regex", "unencrypted_comment_regex"} {
		if s, _ := fields[name].(string); s != "" {
			return fmt.Errorf("%s: comments do not reach where objects are decrypted: use a rule by keys", name)
		}
	}
	var err error
	if m.rule.encryptedRegex, err = expression("encrypted_regex"); err != nil {
		return err
	}
	if m.rule.unencryptedRegex, err = expression("unencrypted_regex"); err != nil {
		return err
	}
	for name, field := range map[string]*string{"encrypted_suffix": &m.rule.encryptedSuffix, "unencrypted_suffix": &m.rule.unencryptedSuffix} {
		if *field, _ = fields[name].(string); *field != "" {
			rules++
		}
	}
	switch rules {
	case 0:
		m.rule.unencryptedSuffix = "_unencrypted"
	case 1:
	default:
		return errors.New("more than one rule says what is encrypted")
	}
	return nil
}

func groupOf(fields map[string]any) group {
	return group{recipients(fields["age"]), recipients(fields["pgp"])}
}

func recipients(v any) []recipient {
	list, _ := v.([]any)
	var found []recipient
	for _, item := range list {
		fields, _ := item.(map[string]any)
		if enc, _ := fields["enc"].(string); enc != "" {
			found = append(found, recipient{enc})
		}
	}
	return found
}

// maxRecipients bounds a file's recipients in a flat format, whose numbers anybody could write.
const maxRecipients = 1000

// unflatten rebuilds what a flat format spells as key_groups__list_0__map_age__list_0__map_enc. What is spelled in another way is left out.
func unflatten(flat map[string]any) map[string]any {
	fields := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(flat)) {
		var steps []any
		for i, part := range strings.Split(name, "__") {
			switch number, list := strings.CutPrefix(part, "list_"); {
			case i == 0:
				steps = append(steps, part)
			case list:
				at, err := strconv.Atoi(number)
				if err != nil || at < 0 || at >= maxRecipients {
					at = -1
				}
				steps = append(steps, at)
			default:
				steps = append(steps, strings.TrimPrefix(part, "map_"))
			}
		}
		if len(steps) <= maxSteps && !slices.Contains(steps, any(-1)) {
			fields, _ = put(fields, steps, flat[name]).(map[string]any)
		}
	}
	return fields
}

// maxSteps is how deep metadata is nested.
const maxSteps = 6

// flatFields rebuilds the metadata of a section, in which line breaks are spelled \n.
func flatFields(fields map[string]any) map[string]any {
	for name, v := range fields {
		if s, ok := v.(string); ok {
			fields[name] = strings.ReplaceAll(s, `\n`, "\n")
		}
	}
	return unflatten(fields)
}

// put puts a value into what is there; a place of another kind stays as it is.
func put(into any, steps []any, v any) any {
	if len(steps) == 0 {
		return v
	}
	switch step := steps[0].(type) {
	case string:
		fields, ok := into.(map[string]any)
		if into == nil {
			fields, ok = map[string]any{}, true
		}
		if ok {
			fields[step] = put(fields[step], steps[1:], v)
			return fields
		}
	case int:
		items, ok := into.([]any)
		if into == nil || ok {
			for len(items) <= step {
				items = append(items, nil)
			}
			items[step] = put(items[step], steps[1:], v)
			return items
		}
	}
	return into
}
