package objects

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"

	"github.com/commitgate/commitgate/git"
)

// Mode is the mode of a tree entry.
type Mode uint32

// The modes of tree entries.
const (
	ModeFolder     Mode = 0o040000
	ModeFile       Mode = 0o100644
	ModeExecutable Mode = 0o100755
	ModeSymlink    Mode = 0o120000
	ModeSubmodule  Mode = 0o160000
)

// TreeEntry is one line of a tree.
type TreeEntry struct {
	Name string
	Mode Mode

	id     name
	format Format
}

// ID is the object id of the file or folder.
func (e *TreeEntry) ID() git.ID {
	if e.format == 0 { // the zero value: no entry
		return ""
	}
	return e.id.id(e.format)
}

// SameObject tells whether two entries name the same object, without spelling out the ids.
func (e *TreeEntry) SameObject(o *TreeEntry) bool { return e.id == o.id && e.format == o.format }

// Compare tells the order of two entries in a tree: by name, where that of a folder ends in a slash. A file and a folder of
// one name are not equal.
func (e *TreeEntry) Compare(o *TreeEntry) int {
	n := min(len(e.Name), len(o.Name))
	if c := strings.Compare(e.Name[:n], o.Name[:n]); c != 0 {
		return c
	}
	return cmp.Compare(e.after(n), o.after(n))
}

// after is the byte behind the first n of the name as it is sorted; 0 at its end.
func (e *TreeEntry) after(n int) byte {
	switch {
	case n < len(e.Name):
		return e.Name[n]
	case e.Mode == ModeFolder:
		return '/'
	}
	return 0
}

// ParseTree reads a tree object. Names that could lead out of the tree or into a Git folder, duplicates and wrong order are errors, as
// in git-fsck: two readers of such a tree could see different files.
func ParseTree(content []byte, f Format) ([]TreeEntry, error) {
	text := string(content) // the names are parts of this one string
	entries := make([]TreeEntry, 0, len(content)/(int(f)+16))
	for at := 0; at < len(content); {
		line, id, rest, err := nextEntry(content[at:], f)
		if err != nil {
			return nil, err
		}
		e := TreeEntry{id: id, format: f}
		if e.Mode, e.Name, err = entryHead(text[at : at+len(line)]); err != nil {
			return nil, err
		}
		if n := len(entries); n > 0 && (entries[n-1].Compare(&e) >= 0 || e.Mode == ModeFolder && hasFile(entries, e.Name)) {
			return nil, fmt.Errorf("%w: tree entry %q is out of order or there twice", ErrCorrupt, e.Name)
		}
		entries = append(entries, e)
		at = len(content) - len(rest)
	}
	return entries, nil
}

// hasFile looks for a file of this name among entries in order: a folder of the same name may come several entries later.
func hasFile(entries []TreeEntry, file string) bool {
	for i := len(entries) - 1; i >= 0 && strings.HasPrefix(entries[i].Name, file); i-- {
		if entries[i].Name == file {
			return true
		}
	}
	return false
}

// nextEntry splits the first entry from a tree: "MODE NAME", and the id behind the NUL.
func nextEntry(content []byte, f Format) (line []byte, n name, rest []byte, err error) {
	line, rest, ok := bytes.Cut(content, []byte{0})
	if !ok || len(rest) < int(f) {
		return nil, n, nil, fmt.Errorf("%w: tree ends inside an entry", ErrCorrupt)
	}
	copy(n[:], rest[:f])
	return line, n, rest[f:], nil
}

func entryHead(line string) (Mode, string, error) {
	octal, file, ok := strings.Cut(line, " ")
	var mode Mode
	for _, c := range octal {
		if c < '0' || c > '7' || mode > 0o777777 {
			return 0, "", fmt.Errorf("%w: tree entry mode %q", ErrCorrupt, octal)
		}
		mode = mode<<3 | Mode(c-'0')
	}
	if !ok || octal == "" {
		return 0, "", fmt.Errorf("%w: tree entry %q", ErrCorrupt, line)
	}
	if file == "" || file == "." || file == ".." || strings.EqualFold(file, ".git") || strings.Contains(file, "/") {
		return 0, "", fmt.Errorf("%w: tree entry with the name %q", ErrCorrupt, file)
	}
	switch mode {
	case ModeFolder, ModeFile, ModeExecutable, ModeSymlink, ModeSubmodule:
	case 0o100664, 0o100666, 0o100600: // written by old tools; git reads them as plain files
		mode = ModeFile
	default:
		return 0, "", fmt.Errorf("%w: tree entry %q has the mode %o", ErrCorrupt, file, mode)
	}
	return mode, file, nil
}

// Links are the objects that a commit names.
type Links struct {
	Tree    git.ID
	Parents []git.ID
}

// ParseLinks reads the tree and the parents of a commit, and nothing else.
func ParseLinks(content []byte) (Links, error) {
	var l Links
	value, rest, err := headerLine(content, "tree ")
	if err != nil {
		return l, err
	}
	if l.Tree, err = git.ParseID(value); err != nil {
		return l, fmt.Errorf("%w: commit: %w", ErrCorrupt, err)
	}
	for bytes.HasPrefix(rest, []byte("parent ")) {
		if value, rest, err = headerLine(rest, "parent "); err != nil {
			return l, err
		}
		id, err := git.ParseID(value)
		if err != nil {
			return l, fmt.Errorf("%w: commit: %w", ErrCorrupt, err)
		}
		l.Parents = append(l.Parents, id)
	}
	return l, nil
}

// ParseTag returns the object that an annotated tag names.
func ParseTag(content []byte) (git.ID, error) {
	value, _, err := headerLine(content, "object ")
	if err != nil {
		return "", err
	}
	return git.ParseID(value)
}

func headerLine(content []byte, key string) (value string, rest []byte, err error) {
	line, rest, ok := bytes.Cut(content, []byte("\n"))
	value, found := strings.CutPrefix(string(line), key)
	if !ok || !found {
		return "", nil, fmt.Errorf("%w: object without a %q line where it belongs", ErrCorrupt, strings.TrimSpace(key))
	}
	return value, rest, nil
}

// references calls f with the names of the objects that this one needs to be whole: not submodules, which live elsewhere.
func references(kind Kind, content []byte, format Format, f func(name)) error {
	switch kind {
	case Commit:
		l, err := ParseLinks(content)
		if err != nil {
			return err
		}
		for _, id := range append(l.Parents, l.Tree) {
			n, err := parseName(id, format)
			if err != nil {
				return fmt.Errorf("%w: commit: %w", ErrCorrupt, err)
			}
			f(n)
		}
	case Tree:
		for len(content) > 0 {
			line, n, rest, err := nextEntry(content, format)
			if err != nil {
				return err
			}
			if !bytes.HasPrefix(line, []byte("160000 ")) {
				f(n)
			}
			content = rest
		}
	case Tag:
		id, err := ParseTag(content)
		if err != nil {
			return err
		}
		n, err := parseName(id, format)
		if err != nil {
			return fmt.Errorf("%w: tag: %w", ErrCorrupt, err)
		}
		f(n)
	}
	return nil
}
