package manifest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	mathrand "math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/compact"
)

// hidden is an encrypted value that something is rendered from.
type hidden struct {
	name  string // where it stands
	known bool   // a key opened it
	value any    // what it decrypts to, a scalar; nil if it is not known
}

// trial renders with values in the place of the hidden ones, in their order. What is wrong with what somebody pushed must come as a *refusedFile,
// not as a noted problem: it could quote a value.
type trial func(values []any) ([]*document, error)

// errHidden is told in the place of an error whose text could quote a decrypted value.
var errHidden = errors.New("it cannot be rendered with the values that are decrypted for it (the message could quote them, and is left out here)")

// errTrials is returned when a rendering was tried often, or long, enough.
var errTrials = errors.New("too many hidden values that decide")

// maxTrials bounds how often something is rendered to find out where its hidden values come out.
const maxTrials = 96

// unknowable is returned when what is rendered depends, beyond single fields, on hidden values: it is not declared.
type unknowable struct{ what string }

func (e *unknowable) Error() string { return e.what }

// listed names a few of many.
func listed(names []string) string {
	const few = 3
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}

// sealTrial renders with hidden values, and takes all that holds something of them out of what is made: what differs where other values stand in their
// place. What comes of decrypted ones is sealed, what comes of those that nobody knows is known by its shape only. Truth values that decide what there
// is (an object that is made or not) cannot be hidden. The mark tells the values of one revision from those of another.
func (r *renderer) sealTrial(b *Build, values []hidden, mark string, render trial) ([]*document, error) {
	p := &probing{values: values, render: render, until: time.Now().Add(r.limits.Build)}
	var err error
	if p.base, err = render(p.given(nil)); err != nil {
		return nil, p.tellable(err)
	}
	var sealed, shapes differences
	if p.knows() {
		if sealed, err = p.findSealed(); err != nil {
			return nil, err
		}
	}
	if names := p.unknown(); len(names) > 0 {
		for range 2 {
			found, err := p.try(p.strangers())
			if errors.Is(err, errDepends) || errors.Is(err, errTrials) || isRefused(err) {
				return nil, &unknowable{fmt.Sprintf("more than single fields depends on %s, which no key at hand opens (spec.decryption of the Gate)", listed(names))}
			}
			if err != nil {
				return nil, err
			}
			shapes.add(found)
		}
	}
	for i, doc := range p.base {
		r.mask(b, doc, mark, sealed.of(i), shapes.of(i))
	}
	return p.base, nil
}

// probing finds out what of a rendering differs with its hidden values.
type probing struct {
	values []hidden
	render trial
	base   []*document // with the real values
	trials int
	until  time.Time       // what is not found out by then is not
	drawn  map[drawing]any // the others, which are the same in each trial until they are drawn anew: what decides is found by comparing trials
}

// drawing is one attempt at another value.
type drawing struct{ value, attempt int }

func isRefused(err error) bool {
	var refused *refusedFile
	return errors.As(err, &refused)
}

func (p *probing) knows() bool {
	return slices.ContainsFunc(p.values, func(h hidden) bool { return h.known })
}

func (p *probing) unknown() (names []string) {
	for _, h := range p.values {
		if !h.known && !slices.Contains(names, h.name) {
			names = append(names, h.name)
		}
	}
	return names
}

// stranger stands for a value that nobody knows.
const stranger = "unknown"

// given are the real values, with others in the place of those that choice has: the attempt at one, from 0.
func (p *probing) given(choice map[int]int) []any {
	out := make([]any, len(p.values))
	for i, h := range p.values {
		attempt, chosen := choice[i]
		switch {
		case !h.known:
			out[i] = stranger
		case chosen:
			out[i] = p.draw(i, attempt)
		default:
			out[i] = h.value
		}
	}
	return out
}

// draw is another value in the place of a known one.
func (p *probing) draw(i, attempt int) any {
	d := drawing{i, attempt}
	v, ok := p.drawn[d]
	if !ok {
		if p.drawn == nil {
			p.drawn = map[drawing]any{}
		}
		v = anotherValue(p.values[i].value, attempt)
		p.drawn[d] = v
	}
	return v
}

// strangers are the real values, with others in the place of those that nobody knows.
func (p *probing) strangers() []any {
	out := p.given(nil)
	for i, h := range p.values {
		if !h.known {
			out[i] = rand.Text()
		}
	}
	return out
}

// tellable is the error of a rendering with the real values as it may be told: where it fails with others too, that error.
func (p *probing) tellable(err error) error {
	if !isRefused(err) || !p.knows() {
		return err
	}
	_, told := p.render(p.given(p.all()))
	if isRefused(told) {
		return told
	}
	return &refusedFile{err: errHidden}
}

// all is the first attempt at every known value.
func (p *probing) all() map[int]int {
	choice := map[int]int{}
	for i, h := range p.values {
		if h.known {
			choice[i] = 0
		}
	}
	return choice
}

// try renders with values, and says what differs. errDepends: not in single values only.
func (p *probing) try(values []any) (differences, error) {
	if p.trials++; p.trials > maxTrials || time.Now().After(p.until) {
		return nil, errTrials
	}
	made, err := p.render(values)
	if err != nil {
		return nil, err
	}
	found, _, err := compareDocuments(p.base, made, false)
	return found, err
}

// holds tells whether what is made keeps its structure with a choice of other values.
func (p *probing) holds(choice map[int]int) (bool, error) {
	_, err := p.try(p.given(choice))
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, errDepends), isRefused(err):
		return false, nil
	}
	return false, err
}

// findSealed says what differs with the decrypted values: with two sets of others, so that a value that is the same by chance is seen.
func (p *probing) findSealed() (differences, error) {
	choice := p.all()
	ok, err := p.holds(choice)
	if err != nil {
		return nil, p.depends(err, choice)
	}
	if !ok {
		if choice, err = p.choose(choice); err != nil {
			return nil, err
		}
	}
	var found differences
	const wanted, attempts = 2, 8 // others of a small number may by chance be such that they decide
	for n, attempt := 0, 1; n < wanted; attempt++ {
		more, err := p.try(p.given(choice))
		p.drawn = nil
		switch {
		case err == nil:
			found.add(more)
			n++
		case attempt >= attempts || !errors.Is(err, errDepends) && !isRefused(err):
			return nil, p.depends(err, choice)
		}
	}
	return found, nil
}

// choose finds other values with which what is made keeps its structure. A truth value that decides is left as it is.
func (p *probing) choose(choice map[int]int) (map[int]int, error) {
	indices := make([]int, 0, len(choice))
	for i := range p.values {
		if _, ok := choice[i]; ok {
			indices = append(indices, i)
		}
	}
	deciding, err := p.deciding(indices)
	if err != nil {
		return nil, p.depends(err, choice)
	}
	for _, i := range deciding {
		attempt, err := p.attemptAt(i)
		switch _, truth := p.values[i].value.(bool); {
		case err != nil:
			return nil, p.depends(err, choice)
		case attempt > 0:
			choice[i] = attempt
		case truth:
			delete(choice, i)
		default:
			return nil, p.depends(errDepends, map[int]int{i: 0})
		}
	}
	ok, err := p.holds(choice)
	if err == nil && !ok {
		err = errDepends
	}
	if err != nil {
		return nil, p.depends(err, choice)
	}
	return choice, nil
}

// attemptAt finds another of one value with which the structure stays; 0 if none does.
func (p *probing) attemptAt(i int) (int, error) {
	for attempt := 1; attempt < valueAttempts; attempt++ {
		ok, err := p.holds(map[int]int{i: attempt})
		if err != nil || ok {
			return attempt, err
		}
	}
	return 0, nil
}

// deciding are those of some values with whose first other the structure changes.
func (p *probing) deciding(indices []int) ([]int, error) {
	choice := map[int]int{}
	for _, i := range indices {
		choice[i] = 0
	}
	ok, err := p.holds(choice)
	if err != nil || ok || len(indices) == 1 {
		if ok {
			indices = nil
		}
		return indices, err
	}
	left, err := p.deciding(indices[:len(indices)/2])
	if err != nil {
		return nil, err
	}
	right, err := p.deciding(indices[len(indices)/2:])
	if err != nil {
		return nil, err
	}
	if len(left)+len(right) == 0 {
		return indices, nil // only together
	}
	return append(left, right...), nil
}

// depends names the values on which more depends than single values.
func (p *probing) depends(err error, choice map[int]int) error {
	if !errors.Is(err, errDepends) && !errors.Is(err, errTrials) && !isRefused(err) {
		return err
	}
	var names []string
	for i, h := range p.values {
		if _, ok := choice[i]; ok && !slices.Contains(names, h.name) {
			names = append(names, h.name)
		}
	}
	return &unknowable{fmt.Sprintf("more than single fields depends on the decrypted %s, and what would show it cannot be declared: keep in the clear what decides, "+
		"and what objects and items of lists are called", listed(names))}
}

// valueAttempts is how many kinds of other values there are.
const valueAttempts = 4

// anotherValue is another value of the same type. The first attempt is one that looks alike.
func anotherValue(v any, attempt int) any {
	switch v := v.(type) {
	case bool:
		return !v
	case int:
		return int(anotherNumber(float64(v), attempt))
	case int64:
		return int64(anotherNumber(float64(v), attempt))
	case float64:
		return anotherNumber(v, attempt)
	case string:
		switch {
		case v == "":
			return v // there is nothing to hide
		case attempt == valueAttempts-1:
			return rand.Text()
		}
		return anotherText(v)
	}
	return v // null
}

// anotherNumber is a number of as many digits, or one close by.
func anotherNumber(v float64, attempt int) float64 {
	switch attempt {
	case 1:
		return v + 1
	case 2:
		return 2*v + 3
	case 3:
		return v - 1
	}
	if v != math.Trunc(v) || math.Abs(v) >= 1<<53 {
		return v + 1 + float64(mathrand.IntN(1000))
	}
	text := anotherText(strconv.FormatInt(int64(math.Abs(v)), 10))
	n, _ := strconv.ParseFloat(text, 64)
	return math.Copysign(n, v)
}

// anotherText is a text in which every letter and digit is another, so that no part of one that holds any is the same: as long, and of the
// same build.
func anotherText(s string) string {
	out := []rune(s)
	changed := false
	for i, c := range out {
		switch {
		case c >= '0' && c <= '9':
			first := i == 0 || !unicode.IsDigit(out[i-1])
			out[i], changed = anotherDigit(c, first), true
		case c >= 'a' && c <= 'z':
			out[i], changed = 'a'+(c-'a'+1+rune(mathrand.IntN(25)))%26, true
		case c >= 'A' && c <= 'Z':
			out[i], changed = 'A'+(c-'A'+1+rune(mathrand.IntN(25)))%26, true
		case unicode.IsLetter(c):
			out[i], changed = 'a'+rune(mathrand.IntN(26)), true
		}
	}
	if !changed {
		return rand.Text()
	}
	return string(out)
}

// anotherDigit keeps a number one without a leading zero.
func anotherDigit(c rune, first bool) rune {
	for {
		d := '0' + rune(mathrand.IntN(10))
		if d != c && (d != '0' || !first) {
			return d
		}
	}
}

// mask puts marks in the place of the values at the paths, and seals those that are known. A mark tells the values of one revision, of which the
// argument is a digest, from those of another.
func (r *renderer) mask(b *Build, doc *document, mark string, sealed, shapes map[string]bool) {
	if doc.nameless {
		doc.content = compact.Of(map[string]any{"apiVersion": doc.content.At("apiVersion"), "kind": doc.content.At("kind")})
		return
	}
	if len(sealed)+len(shapes) == 0 {
		return
	}
	sum := sha256.Sum256([]byte(mark + "\n" + identity(doc.content).String()))
	seals := map[string]account.Seal{}
	unsteady, count, whole := doc.opaque, 0, doc.content
	doc.opaque = slices.Clip(doc.opaque)
	made, _ := mapLeaves(whole.Map(), nil, func(at []string, v any) any {
		p := fieldPath(at)
		if !sealed[p] && !shapes[p] {
			return v
		}
		count++
		text := fmt.Sprintf("ENC[git,%s/%d]", hex.EncodeToString(sum[:8]), count)
		if !shapes[p] && !anyPath(unsteady, at) {
			r.seal(b, seals, whole, at, text, v)
		}
		doc.opaque = append(doc.opaque, p)
		return text
	}).(map[string]any)
	doc.content = compact.Of(made)
	slices.Sort(doc.opaque)
	doc.opaque = slices.Compact(doc.opaque)
	if len(seals) > 0 {
		doc.sealed = doc.sealed.With(r.in.Decryption.sealer.Sealed(seals))
	}
}
