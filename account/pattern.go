package account

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Pattern matches field paths: a path as Field.Path writes it, with [*] for any item or key, and ** at the end for the field itself
// and everything below.
type Pattern string

// segment is one step of a pattern.
type segment struct {
	text string
	any  bool // [*]
	rest bool // **
}

// Check tells whether the pattern is one: an error names what is wrong with it. A pattern that is not one matches nothing.
func (p Pattern) Check() error {
	_, err := p.segments()
	return err
}

// Match tells whether the pattern covers a path as Field.Path writes it. A pattern or path that cannot be read matches nothing.
func (p Pattern) Match(path string) bool {
	segments, err := p.segments()
	if err != nil {
		return false
	}
	steps, err := split(path)
	return err == nil && matches(segments, steps)
}

// segments parses the pattern.
func (p Pattern) segments() ([]segment, error) {
	names, rest := strings.CutSuffix(string(p), "**")
	if rest {
		names = strings.TrimSuffix(names, ".")
	}
	steps, err := split(names)
	if err != nil {
		return nil, err
	}
	out := make([]segment, 0, len(steps)+1)
	for _, s := range steps {
		out = append(out, segment{text: s.name, any: s.name == "*"})
	}
	if rest {
		out = append(out, segment{rest: true})
	}
	if len(out) == 0 {
		return nil, errors.New("an empty field path")
	}
	return out, nil
}

// split reads a path.
func split(path string) ([]step, error) {
	var out []step
	for rest := path; rest != ""; {
		if rest[0] == '[' {
			text, after, err := bracket(rest)
			if err != nil {
				return nil, fmt.Errorf("field path %q: %w", path, err)
			}
			out, rest = append(out, step{kind: stepKey, name: text}), after
			continue
		}
		if len(out) > 0 {
			if rest[0] != '.' {
				return nil, fmt.Errorf("field path %q: %q where a dot or bracket belongs", path, rest[:1])
			}
			rest = rest[1:]
		}
		end := strings.IndexAny(rest, ".[")
		if end < 0 {
			end = len(rest)
		}
		name := rest[:end]
		if name == "" || strings.ContainsAny(name, "*]") {
			return nil, fmt.Errorf("field path %q: %q is no name", path, name)
		}
		out, rest = append(out, step{name: name}), rest[end:]
	}
	return out, nil
}

// bracket cuts [text] from the front of s. A quoted text may hold anything.
func bracket(s string) (text, rest string, err error) {
	if strings.HasPrefix(s, `["`) {
		q, err := strconv.QuotedPrefix(s[1:])
		if err != nil || !strings.HasPrefix(s[1+len(q):], "]") {
			return "", "", fmt.Errorf("a bracket with a broken quote")
		}
		text, err = strconv.Unquote(q)
		return text, s[len(q)+2:], err
	}
	end := strings.IndexByte(s, ']')
	if end < 2 {
		return "", "", fmt.Errorf("an empty or unclosed bracket")
	}
	return s[1:end], s[end+1:], nil
}

// matches compares step by step, never as text: a key that a client chose cannot spell a path.
func matches(segments []segment, path []step) bool {
	for i, g := range segments {
		if g.rest {
			return len(path) >= i
		}
		if i >= len(path) || !g.any && g.text != path[i].text() || g.any && path[i].kind == stepField {
			return false
		}
	}
	return len(segments) == len(path)
}
