package git

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Commit is a parsed commit object.
type Commit struct {
	ID        ID
	Tree      ID
	Parents   []ID
	Author    Person
	Committer Person
	Message   string

	// Payload is what a signature covers: the object without its signature headers, byte for byte.
	Payload []byte
	// Signature is the armoured signature, nil if the commit has none.
	Signature []byte
}

// MalformedError is returned for a commit that is not in the one shape that is accepted.
type MalformedError struct {
	ID     ID
	Author Person // as far as it could be read
	Why    string
}

func (e *MalformedError) Error() string { return fmt.Sprintf("commit %s: %s", e.ID.Short(), e.Why) }

// The headers that hold signatures, by the length of the ids of their repository (gitformat-signature(5)).
const (
	signatureSHA1   = "gpgsig"
	signatureSHA256 = "gpgsig-sha256"
)

// ParseCommit reads a raw commit object (without the "commit SIZE" header of loose objects). It does not hash: that raw is what
// id names is for whoever read it to know. The error is a *MalformedError.
//
// Git takes several signature headers of a kind for one, and drops unknown headers that begin with "gpgsig" from what is
// signed; both are refused here. A header for the other object format (a commit may carry both) is left out of
// the payload, as git does, and otherwise ignored.
func ParseCommit(id ID, raw []byte) (*Commit, error) {
	c := &Commit{ID: id}
	p := parser{commit: c, own: signatureSHA1, other: signatureSHA256}
	if len(id) == 64 {
		p.own, p.other = p.other, p.own
	}
	if err := p.parse(raw); err != nil {
		return nil, &MalformedError{ID: id, Author: c.Author, Why: err.Error()}
	}
	return c, nil
}

// parser goes through the headers of one commit, which come in a fixed order: tree, parents, author, committer, others.
type parser struct {
	commit     *Commit
	own, other string
	seen       int // how many of the fixed headers have been read: 1 tree, 2 author, 3 committer
	signatures map[string]bool
}

func (p *parser) parse(raw []byte) error {
	c := p.commit
	end := bytes.Index(raw, []byte("\n\n"))
	if end < 0 {
		if !bytes.HasSuffix(raw, []byte("\n")) {
			return errors.New("its headers do not end")
		}
		end = len(raw) - 1 // no message, and not even the empty line before it
	}
	headers, rest := raw[:end+1], raw[end+1:]
	c.Payload = make([]byte, 0, len(raw))
	if i := bytes.IndexByte(headers, 0); i >= 0 {
		return errors.New("a NUL among its headers")
	}
	if err := p.headers(headers); err != nil {
		return err
	}
	if p.seen < 3 {
		return errors.New("it lacks one of tree, author and committer")
	}
	c.Payload = append(c.Payload, rest...)
	if len(rest) > 0 {
		c.Message = string(rest[1:])
	}
	return nil
}

// headers reads the header lines, each with its continuation lines.
func (p *parser) headers(headers []byte) error {
	for len(headers) > 0 {
		n := bytes.IndexByte(headers, '\n') + 1
		for n < len(headers) && headers[n] == ' ' {
			n += bytes.IndexByte(headers[n:], '\n') + 1
		}
		whole := headers[:n]
		headers = headers[n:]
		if err := p.header(whole); err != nil {
			return err
		}
	}
	return nil
}

func (p *parser) header(whole []byte) error {
	key, value, ok := strings.Cut(strings.TrimSuffix(string(whole), "\n"), " ")
	if !ok || key == "" {
		return fmt.Errorf("%q is not a header", clip(key))
	}
	if strings.HasPrefix(key, signatureSHA1) {
		return p.signature(key, value)
	}
	p.commit.Payload = append(p.commit.Payload, whole...)
	return p.fixed(key, value)
}

func (p *parser) signature(key, value string) error {
	if key != p.own && key != p.other {
		return fmt.Errorf("header %s is not a signature that is known", clip(key))
	}
	if p.seen < 3 {
		return fmt.Errorf("header %s stands before the committer", key)
	}
	if p.signatures[key] {
		return fmt.Errorf("two %s headers", key)
	}
	if p.signatures == nil {
		p.signatures = map[string]bool{}
	}
	p.signatures[key] = true
	if key == p.own {
		// A continuation line is the line after one space.
		p.commit.Signature = []byte(strings.ReplaceAll(value, "\n ", "\n") + "\n")
	}
	return nil
}

// fixed reads the headers that every commit has.
func (p *parser) fixed(key, value string) (err error) {
	c := p.commit
	switch {
	case key == "tree" && p.seen == 0:
		p.seen = 1
		c.Tree, err = p.id(value)
	case key == "parent" && p.seen == 1:
		var parent ID
		parent, err = p.id(value)
		c.Parents = append(c.Parents, parent)
	case key == "author" && p.seen == 1:
		p.seen = 2
		c.Author = ParsePerson(value)
	case key == "committer" && p.seen == 2:
		p.seen = 3
		c.Committer = ParsePerson(value)
	case p.seen < 3 || key == "tree" || key == "parent" || key == "author" || key == "committer":
		return fmt.Errorf("header %s stands where it must not", clip(key))
	}
	return err
}

// id reads an id of the same object format as the commit's own.
func (p *parser) id(s string) (ID, error) {
	id, err := ParseID(s)
	if err == nil && len(id) != len(p.commit.ID) {
		err = fmt.Errorf("id %s is of another object format", id.Short())
	}
	return id, err
}

func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}

// ParsePerson reads "NAME <EMAIL> SECONDS ZONE", as far as it can be read: what a commit says of its author is shown, never
// believed, so nothing in it is an error.
func ParsePerson(s string) Person {
	name, rest, ok := strings.Cut(s, "<")
	if !ok {
		return Person{Name: strings.TrimSpace(s)}
	}
	person := Person{Name: strings.TrimSpace(name)}
	i := strings.LastIndexByte(rest, '>')
	if i < 0 {
		person.Email = strings.TrimSpace(rest)
		return person
	}
	person.Email = strings.TrimSpace(rest[:i])
	seconds, zone, _ := strings.Cut(strings.TrimSpace(rest[i+1:]), " ")
	unix, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return person
	}
	offset := 0
	if z, err := strconv.Atoi(zone); err == nil && z > -2400 && z < 2400 {
		offset = z/100*3600 + z%100*60
	}
	person.When = time.Unix(unix, 0).In(time.FixedZone("", offset))
	return person
}

// Links reads the tree and the parents of a raw commit, and nothing else of it: enough to walk a history, also through commits that
// ParseCommit refuses.
func Links(raw []byte) (tree ID, parents []ID, err error) {
	value, rest, ok := cutHeader(raw, "tree ")
	if ok {
		tree, err = ParseID(value)
	}
	if !ok || err != nil {
		return "", nil, errors.New("not a commit: it does not begin with its tree")
	}
	for {
		value, next, ok := cutHeader(rest, "parent ")
		if !ok {
			return tree, parents, nil
		}
		parent, err := ParseID(value)
		if err != nil {
			return "", nil, err
		}
		parents, rest = append(parents, parent), next
	}
}

func cutHeader(raw []byte, key string) (value string, rest []byte, ok bool) {
	line, rest, ok := bytes.Cut(raw, []byte("\n"))
	if !ok || !bytes.HasPrefix(line, []byte(key)) {
		return "", raw, false
	}
	return string(line[len(key):]), rest, true
}
