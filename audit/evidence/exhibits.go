package evidence

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/audit/exhibit"
	"github.com/commitgate/commitgate/git"
)

// exhibitsFolder holds what records name by digest, each file called by the SHA-256 of its content.
const exhibitsFolder = "exhibits/"

// maxJudged bounds how many pairs of commit and signer list a Report holds: memory does not grow with the log.
const maxJudged = 100_000

// Judged is one commit, and by what it was judged.
type Judged struct {
	Repository string `json:"repository"`
	Commit     git.ID `json:"commit"`
	// SignerList and Trust are digests of exhibits: the signers as of the commit's first parent, and what the configuration says. Trust is known
	// where the judgement itself is in the archive.
	SignerList string `json:"signerList"`
	Trust      string `json:"trust,omitempty"`
	// Merged are those of its other parents, where it is a merge and they differ: it was judged by all of them.
	Merged    []string `json:"mergedSignerLists,omitempty"`
	Published bool     `json:"published,omitempty"` // it became the truth
	Refused   bool     `json:"refused,omitempty"`
	Changes   uint64   `json:"changes,omitempty"` // decisions about what it declares
	Record    uint64   `json:"record"`            // seq of the first record that says so
}

// references are what the records of an archive name.
type references struct {
	named    map[string]reference
	judged   map[judgedKey]*Judged
	unlisted bool // there were more than maxJudged
}

// reference is the first record that names a digest.
type reference struct {
	seq      uint64
	policies bool // as that of a policy set
}

type judgedKey struct {
	repository string
	commit     git.ID
	list       string
}

func newReferences() references {
	return references{map[string]reference{}, map[judgedKey]*Judged{}, false}
}

// add takes up what a record names. It keeps nothing of the record.
func (x *references) add(r *audit.Record) {
	for _, digest := range r.Exhibits() {
		ref, known := x.named[digest]
		if !known {
			digest, ref.seq = strings.Clone(digest), r.Seq
		}
		ref.policies = ref.policies || r.Policy != nil && r.Policy.Digest == digest
		x.named[digest] = ref
	}
	o := r.Origin
	if o == nil || o.SignerList == "" || r.Type == audit.TypeSigners {
		return
	}
	k := judgedKey{o.Repository, cmp.Or(o.Commit, o.Revision), o.SignerList}
	j := x.judged[k]
	if j == nil {
		if len(x.judged) == maxJudged {
			x.unlisted = true
			return
		}
		k = judgedKey{strings.Clone(k.repository), git.ID(strings.Clone(string(k.commit))), strings.Clone(k.list)}
		j = &Judged{Repository: k.repository, Commit: k.commit, SignerList: k.list, Record: r.Seq}
		x.judged[k] = j
	}
	if j.Trust == "" {
		j.Trust = strings.Clone(o.Trust)
	}
	if j.Merged == nil {
		for _, list := range o.MergedSignerLists {
			j.Merged = append(j.Merged, strings.Clone(list))
		}
	}
	switch r.Type {
	case audit.TypePublished:
		j.Published = true
	case audit.TypeRefused:
		j.Refused = true
	case audit.TypeDecision:
		j.Changes++
	}
}

// list is what was judged, by repository and record.
func (x *references) list() []Judged {
	var all []Judged
	for _, j := range x.judged {
		all = append(all, *j)
	}
	slices.SortFunc(all, func(a, b Judged) int {
		return cmp.Or(cmp.Compare(a.Repository, b.Repository), cmp.Compare(a.Record, b.Record), cmp.Compare(a.Commit, b.Commit), cmp.Compare(a.SignerList, b.SignerList))
	})
	return all
}

// notes says what of the list is left out.
func (x *references) notes() []string {
	if !x.unlisted {
		return nil
	}
	return []string{fmt.Sprintf("by what commits were judged is listed for the first %d only", maxJudged)}
}

// all yields the digests that are named, sorted, and after that of a policy set those of its files. read returns an exhibit; where it fails, failed is told.
func (x *references) all(read func(digest string) ([]byte, error), failed func(digest string, seq uint64, err error)) []string {
	var out []string
	for _, digest := range slices.Sorted(maps.Keys(x.named)) {
		ref := x.named[digest]
		content, err := read(digest)
		if err != nil {
			failed(digest, ref.seq, err)
			continue
		}
		out = append(out, digest)
		if !ref.policies {
			continue
		}
		files, err := exhibit.ReadListing(content)
		if err != nil {
			failed(digest, ref.seq, err)
		}
		for _, f := range files {
			if _, err := read(f.Digest()); err != nil {
				failed(f.Digest(), ref.seq, err)
				continue
			}
			out = append(out, f.Digest())
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// exhibits adds what the records name, from the folders of the logs. What none of them has is listed as missing: the archive does not hide it.
func (a *archive) exhibits(dirs []string) error {
	missing := map[string]bool{}
	read := func(digest string) (content []byte, err error) {
		for _, dir := range dirs {
			if content, err = exhibit.Read(dir, digest); !errors.Is(err, exhibit.ErrNotThere) {
				return content, err
			}
		}
		return nil, err
	}
	var broken error
	digests := a.references.all(read, func(digest string, seq uint64, err error) {
		if missing[digest] = true; !errors.Is(err, exhibit.ErrNotThere) {
			broken = errors.Join(broken, fmt.Errorf("record %d: %w", seq, err))
		}
	})
	if broken != nil {
		return broken
	}
	for _, digest := range digests {
		content, err := read(digest)
		if err != nil {
			return err
		}
		name, _ := exhibit.Name(digest)
		if err := a.add(exhibitsFolder+name, bytes.NewReader(content)); err != nil {
			return err
		}
	}
	a.m.Missing = slices.Sorted(maps.Keys(missing))
	return nil
}

// exhibits checks that what the records name is there and right, and that nothing else pretends to be.
func (v *verifier) exhibits() {
	digests := v.references.all(v.exhibit, func(digest string, seq uint64, err error) {
		name, _ := exhibit.Name(digest)
		v.problem(seq, exhibitsFolder+name, "the record names it: "+err.Error())
	})
	for name := range v.files {
		file, ok := strings.CutPrefix(name, exhibitsFolder)
		if _, found := slices.BinarySearch(digests, "sha256:"+file); ok && !found && len(v.Problems) == 0 {
			v.problem(0, name, "no record names it")
		}
	}
	v.Judged, v.Exhibits = v.references.list(), len(digests)
	v.Notes = append(v.Notes, v.references.notes()...)
}

// exhibit reads one from the archive.
func (v *verifier) exhibit(digest string) ([]byte, error) {
	name, ok := exhibit.Name(digest)
	if !ok {
		return nil, errors.New("not a digest")
	}
	r, err := v.open(exhibitsFolder + name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	content, err := io.ReadAll(io.LimitReader(r, exhibit.MaxSize+1))
	if err == nil && exhibit.Digest(content) != digest {
		err = errors.New("altered: it is not what its name says")
	}
	return content, err
}
