package policy

import (
	"errors"
	"fmt"
	"io/fs"
	"sort"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// ErrNoSet is returned when a nil Set is asked: no policies are configured, which is for the caller to know before it asks.
var ErrNoSet = errors.New("no policies are configured")

// Error is one reason why policies are not accepted, with its place.
type Error struct {
	File string `json:"file"`
	Line int    `json:"line,omitempty"` // from 1; 0 if the whole file is meant
	Msg  string `json:"msg"`
}

func (e Error) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Msg
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Msg)
}

// Errors is everything that is wrong with a set of policies, by file and line. It is never empty.
type Errors []Error

func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// problems collects errors while loading goes on, so that a person sees all of them at once.
type problems struct{ list Errors }

func (p *problems) add(file string, line int, format string, args ...any) {
	p.list = append(p.list, Error{File: file, Line: line, Msg: fmt.Sprintf(format, args...)})
}

func (p *problems) at(loc *ast.Location, format string, args ...any) {
	if loc == nil {
		p.add("", 0, format, args...)
		return
	}
	p.add(loc.File, loc.Row, format, args...)
}

// addErr takes apart what OPA and the file system return. What says nothing of its place is told of file and line.
func (p *problems) addErr(file string, line int, err error) {
	var many ast.Errors
	if errors.As(err, &many) {
		for _, e := range many {
			p.addRego(file, line, e)
		}
		return
	}
	var one *ast.Error
	if errors.As(err, &one) {
		p.addRego(file, line, one)
		return
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	p.add(file, line, "%v", err)
}

func (p *problems) addRego(file string, line int, e *ast.Error) {
	msg := e.Message
	if hint, ok := missingBuiltin(msg); ok {
		msg += ": " + hint
	}
	if d := e.Details; d != nil {
		if lines := d.Lines(); len(lines) > 0 && e.Code == ast.TypeErr {
			msg += " (" + strings.Join(lines, "; ") + ")"
		}
	}
	if e.Location == nil {
		p.add(file, line, "%s", msg)
		return
	}
	if e.Location.File != "" {
		file = e.Location.File
	}
	p.add(file, e.Location.Row, "%s", msg)
}

// err is nil if there are no problems. Equal ones are told once: a library is compiled with each package that uses it.
func (p *problems) err() error {
	if len(p.list) == 0 {
		return nil
	}
	sort.SliceStable(p.list, func(i, j int) bool {
		a, b := p.list[i], p.list[j]
		if a.File != b.File {
			return a.File < b.File
		}
		if a.Line != b.Line {
			return a.Line < b.Line
		}
		return a.Msg < b.Msg
	})
	out := p.list[:1]
	for _, e := range p.list[1:] {
		if e != out[len(out)-1] {
			out = append(out, e)
		}
	}
	return out
}
