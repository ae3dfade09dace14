package sops

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// metadata is what SOPS writes into a file of its own (sops: in YAML and JSON, sops_… in dotenv).
type metadata struct {
	age, pgp []recipient
	split    bool // the data key is shared among groups of keys
	modified time.Time
	mac      string
	macLine  int
	// onlyEncrypted: the MAC covers the values that are encrypted, not the others.
	onlyEncrypted bool
	rule          rule
}

// recipient is a key to which the data key is encrypted.
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
	m := &metadata{age: recipients(fields["age"]), pgp: recipients(fields["pgp"])}
	if groups, ok := fields["key_groups"].([]any); ok && len(groups) > 0 {
		m.split = len(groups) > 1
		group, _ := groups[0].(map[string]any)
		m.age, m.pgp = append(m.age, recipients(group["age"])...), append(m.pgp, recipients(group["pgp"])...)
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

// unflatten rebuilds what a flat format spells as age__list_0__map_enc.
func unflatten(flat map[string]any) map[string]any {
	fields := map[string]any{}
	for name, v := range flat {
		list, rest, ok := strings.Cut(name, "__list_")
		if !ok {
			fields[name] = v
			continue
		}
		number, key, ok := strings.Cut(rest, "__map_")
		at, err := strconv.Atoi(number)
		if !ok || err != nil || at < 0 || at >= maxRecipients || strings.Contains(key, "__") {
			if list == "key_groups" {
				fields[list] = []any{nil, nil} // several groups
			}
			continue
		}
		items, _ := fields[list].([]any)
		for len(items) <= at {
			items = append(items, map[string]any{})
		}
		items[at].(map[string]any)[key] = v
		fields[list] = items
	}
	return fields
}
