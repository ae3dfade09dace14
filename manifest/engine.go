package manifest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"reflect"
	"slices"

	"github.com/fxamacker/cbor/v2"

	"github.com/commitgate/commitgate/compact"
	"github.com/commitgate/commitgate/git"
)

// Engine runs what could run away: templates of charts and ApplicationSets, kustomizations, and substitutions. It runs Work on the job in a place of
// its choice and returns what that returned. It must be safe for concurrent use; when ctx ends before the job it must return at once; and
// where the job itself was what ended (it took too much memory, its process died), the error must be a *Stopped. If it does no more than so many jobs
// at once, it should say so with a method Size() int: more are not given to it then.
type Engine interface {
	Do(ctx context.Context, tree fs.FS, job []byte) (answer []byte, err error)
}

// Stopped says that a job was stopped, or what it ran in broke.
type Stopped struct {
	At  string // the file that was at work, as far as the job told
	Why error
}

func (e *Stopped) Error() string { return e.Why.Error() }
func (e *Stopped) Unwrap() error { return e.Why }

// InProcess is the engine without a place of its own, for tests and for programs whose input nobody else writes: a job that runs away cannot be
// stopped. It is left alone at the end of its time, and goes on taking memory and a core.
type InProcess struct{}

// Do runs Work in a goroutine.
func (InProcess) Do(ctx context.Context, tree fs.FS, job []byte) ([]byte, error) {
	done := make(chan []byte, 1)
	go func() { done <- Work(ctx, tree, job, func(string) {}) }()
	select {
	case answer := <-done:
		return answer, nil
	case <-ctx.Done():
		return nil, &Stopped{Why: context.Cause(ctx)}
	}
}

// Work does a job, and reads nothing but the tree. It calls at with the file that it begins with, as far as there is one. What is wrong with what
// the job says is part of the answer.
func Work(ctx context.Context, tree fs.FS, text []byte, at func(path string)) []byte {
	made, err := func() (made answer, err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("it gave up: %T", p) // a panic's text may hold values
			}
		}()
		var j job
		if err := decode(text, &j); err != nil {
			return answer{}, fmt.Errorf("a job that cannot be read: %w", err)
		}
		return j.do(ctx, tree, at)
	}()
	made.Fault = faultOf(err)
	out, err := encode(made)
	if err == nil && len(out) > maxAnswer {
		err = fmt.Errorf("it makes more than %d bytes", maxAnswer)
	}
	if err != nil {
		out, _ = encode(answer{Fault: faultOf(err)}) // texts and numbers alone: they can be written
	}
	return out
}

// maxAnswer bounds what one job makes, in bytes.
const maxAnswer = 64 << 20

// job is one thing to do; one field is set.
type job struct {
	Kustomize  *kustomizeJob
	Helm       *helmJob
	Fill       *fillJob
	Substitute *substituteJob
}

type kustomizeJob struct {
	Dir    git.Path
	Limits Limits
}

type helmJob struct {
	Dir     git.Path
	Options helmOptions
}

// fillJob fills in a Go template of an ApplicationSet, or one of Fleet's.
type fillJob struct {
	Options  []string
	Template any
	Values   map[string]any
	Fleet    string // what Fleet fills in: Template is text
}

// substituteJob replaces the variables in texts of one object each.
type substituteJob struct {
	Texts []string
	Vars  map[string]string
}

// answer is what became of a job.
type answer struct {
	Docs   []docAnswer // of a substituteJob one for each text
	Inputs []git.Path
	Value  any
	Fault  *fault
}

// docAnswer is a document on its way.
type docAnswer struct {
	Content  map[string]any `cbor:"c"`
	Path     git.Path       `cbor:"p,omitempty"`
	Line     int            `cbor:"l,omitempty"`
	Opaque   []string       `cbor:"o,omitempty"`
	CRD      bool           `cbor:"d,omitempty"`
	Nameless bool           `cbor:"n,omitempty"`
	Why      string         `cbor:"w,omitempty"` // there is none, and why
}

// fault is an error on its way: what the renderer tells apart, and the text.
type fault struct {
	Path    git.Path
	Line    int
	Refused bool // a refusedFile
	Limit   bool // wraps ErrLimit
	Text    string
}

func faultOf(err error) *fault {
	var refused *refusedFile
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused):
		return &fault{Refused: true, Path: refused.path, Line: refused.line, Text: boundText(refused.err.Error())}
	}
	return &fault{Limit: errors.Is(err, ErrLimit), Text: boundText(err.Error())}
}

func (f *fault) err() error {
	switch {
	case f == nil:
		return nil
	case f.Refused:
		return &refusedFile{path: f.Path, line: f.Line, err: errors.New(f.Text)}
	case f.Limit:
		return limitFault(f.Text)
	}
	return &refusedFile{err: errors.New(f.Text)}
}

// limitFault is the text of an error that wraps ErrLimit.
type limitFault string

func (e limitFault) Error() string { return string(e) }
func (e limitFault) Unwrap() error { return ErrLimit }

func (j *job) do(ctx context.Context, tree fs.FS, at func(string)) (made answer, err error) {
	var docs []*document
	switch {
	case j.Kustomize != nil:
		docs, made.Inputs, err = kustomizeBuild(ctx, tree, j.Kustomize.Dir, j.Kustomize.Limits)
	case j.Helm != nil:
		docs, made.Inputs, err = helmTemplate(tree, j.Helm.Dir, j.Helm.Options, at)
	case j.Fill != nil && j.Fill.Fleet != "":
		text, _ := j.Fill.Template.(string)
		made.Value, err = fillFleet(j.Fill.Fleet, text, j.Fill.Values)
	case j.Fill != nil:
		made.Value, err = templater{goTemplate: true, options: j.Fill.Options}.fill(j.Fill.Template, j.Fill.Values)
	case j.Substitute != nil:
		for _, text := range j.Substitute.Texts {
			made.Docs = append(made.Docs, substituted(text, j.Substitute.Vars))
		}
	}
	for _, doc := range docs {
		made.Docs = append(made.Docs, docAnswer{
			Content: doc.content.Map(), Path: doc.path, Line: doc.line, Opaque: doc.opaque, CRD: doc.crd, Nameless: doc.nameless,
		})
	}
	return made, err
}

// documents are those of the answer, rendered from inputs.
func (a *answer) documents(inputs []git.Path) []*document {
	docs := make([]*document, len(a.Docs))
	for i, d := range a.Docs {
		docs[i] = &document{
			content: compact.Of(d.Content), path: d.Path, line: d.Line, opaque: d.Opaque, crd: d.CRD, nameless: d.Nameless, inputs: inputs,
		}
	}
	return docs
}

// do has the engine do a job for what stands at a place. The error is a *refusedFile where the fault is that of whoever pushed it.
func (r *renderer) do(tree fs.FS, at git.Path, j job) (*answer, error) {
	return r.doBy(r.inTurn, tree, at, j)
}

// doAhead is do for a job that may be done before its turn: it must hold nothing that was decrypted, nor what stands for that and is another each time.
func (r *renderer) doAhead(tree fs.FS, at git.Path, j job) (*answer, error) {
	return r.doBy(r.answerTo, tree, at, j)
}

func (r *renderer) doBy(run func(fs.FS, []byte) ([]byte, error), tree fs.FS, at git.Path, j job) (*answer, error) {
	if r.in.Engine == nil {
		return nil, errors.New("manifest.Input has no Engine to render with")
	}
	text, err := encode(j)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	made, err := run(tree, text)
	var stopped *Stopped
	switch {
	case r.stop() != nil:
		return nil, fmt.Errorf("%w, with %s at work", r.stop(), at)
	case errors.As(err, &stopped):
		return nil, &refusedFile{path: git.Path(stopped.At), err: fmt.Errorf("its rendering is given up: %w", stopped.Why)}
	case err != nil:
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	a := new(answer)
	if err := decode(made, a); err != nil {
		return nil, fmt.Errorf("%s: an answer that cannot be read: %w", at, err)
	}
	return a, a.Fault.err()
}

// refuse notes as a problem what is the fault of whoever pushed, at its file, else at the place.
func (r *renderer) refuse(at Source, err error) error {
	var refused *refusedFile
	if !errors.As(err, &refused) {
		return err
	}
	if refused.path != "" {
		at.Path, at.Line = refused.path, refused.line
	}
	r.problem(at, "%v", refused.err)
	return errReported
}

// refuseHere is refuse for what was rendered from no files of the tree: at the place, whatever the error names.
func (r *renderer) refuseHere(at Source, what string, err error) error {
	var refused *refusedFile
	if !errors.As(err, &refused) {
		return err
	}
	r.problem(at, "%s%v", what, refused.err)
	return errReported
}

// refuseFor is refuseHere for what an agent's object itself says.
func (r *renderer) refuseFor(a *about, what string, err error) error {
	return r.refuseHere(a.at, a.name()+": "+what+": ", err)
}

// encode writes a job or an answer in CBOR (RFC 8949), which unlike JSON tells integers from other numbers and keeps text that is not UTF-8.
func encode(v any) ([]byte, error) {
	mode, err := cbor.EncOptions{Sort: cbor.SortBytewiseLexical}.EncMode()
	if err != nil {
		return nil, err
	}
	return mode.Marshal(v)
}

func decode(data []byte, into any) error {
	mode, err := cbor.DecOptions{
		DefaultMapType: reflect.TypeFor[map[string]any](), IntDec: cbor.IntDecConvertSignedOrFail, UTF8: cbor.UTF8DecodeInvalid,
		MaxNestedLevels: 2 * maxDepth, MaxArrayElements: maxAnswer, MaxMapPairs: maxAnswer,
	}.DecMode()
	if err != nil {
		return err
	}
	return mode.Unmarshal(data, into)
}

// maxFault bounds the text of a fault, in bytes: it ends in logs, in status and in the terminal of whoever pushed.
const maxFault = 2 << 10

func boundText(text string) string {
	if len(text) <= maxFault {
		return text
	}
	return text[:maxFault] + "…"
}

func sortedPaths(seen map[git.Path]bool) []git.Path { return slices.Sorted(maps.Keys(seen)) }
