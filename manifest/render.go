package manifest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/mirror"
	"github.com/commitgate/commitgate/signing"
)

// Input is what a rendering goes by: configuration, and commits that package signing vouches for.
type Input struct {
	Gate         v1alpha1.GateSpec
	Repositories []v1alpha1.TrustedRepository // URLs and aliases, by which agents' objects name them
	Verified     map[string]signing.Verified  // the commit to render, by repository name
	Previous     *Set                         // of the revision before, nil at first: what did not change is taken over, with the same *Object pointers
	Limits       Limits                       // zero value: the defaults
	// Charts is the folder that the gate's field charts names, nil if it names none. Of its files only those are taken whose bytes hash to what Git says.
	Charts fs.FS
	// Engine runs charts, kustomizations, substitutions and templates. Without one, what needs it is an error.
	Engine Engine
	// Keep keeps what kustomizations and charts render to; nil keeps nothing.
	Keep Keep
	// Pinned is a commit of a repository's line that leads to the verified one, for those who name one by its hash. The error wraps
	// signing.ErrNotOnLine if it is not part of it. nil: there is none but the verified ones.
	Pinned func(ctx context.Context, repository string, commit git.ID) (signing.Verified, error)
	// Decryption opens what Git holds encrypted; nil opens nothing. It must be the same for a set and its Previous.
	Decryption *Decryption
	// Partial leaves out an agent's object whose files do not render, as unfollowed, and renders the others: as their agent does. Otherwise a set is whole.
	Partial bool
}

// Limits bound one rendering. A zero field is its default.
type Limits struct {
	Files    int           // files read anew; 100,000
	FileSize int64         // bytes of one file; 16 MiB
	Bytes    int64         // bytes of all files read anew; 512 MiB
	Objects  int           // objects of the whole set; 200,000
	Depth    int           // agents' objects that lie in what agents' objects bring; 32
	Build    time.Duration // of one chart, kustomization, substitution or template; 30 seconds
	Time     time.Duration // of all; 2 minutes
}

func (l Limits) withDefaults() Limits {
	fill := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	fill(&l.Files, 100_000)
	fill(&l.Objects, 200_000)
	fill(&l.Depth, 32)
	if l.FileSize == 0 {
		l.FileSize = 16 << 20
	}
	if l.Bytes == 0 {
		l.Bytes = 512 << 20
	}
	if l.Build == 0 {
		l.Build = 30 * time.Second
	}
	if l.Time == 0 {
		l.Time = 2 * time.Minute
	}
	return l
}

// Set is what one set of revisions declares. It is immutable.
type Set struct {
	// Objects are sorted by key; no two have the same.
	Objects []*Object
	// Builds are what the objects come from, each after the one in which its owner was found.
	Builds []*Build
	// Unfollowed names what Git asks an agent for and this rendering does not follow (a chart from the network, a repository that
	// is not trusted): what it brings is not declared, and so is refused.
	Unfollowed []Problem
	// Unlisted are the agents' objects that act as a user whom the configuration does not list: what they delete is refused.
	Unlisted []Unlisted

	units    map[*Object]unit        // that agents' objects mean
	tracking map[string]argoTracking // by agent
	merged   []*Object               // Objects, and those that yielded to another of the same key
	scopes   map[groupKind]scope
}

// Lean is what is left to know of a set that was superseded: which builds there were. It has no Objects, and cannot be an Input's Previous.
func (s *Set) Lean() *Set {
	lean := &Set{Builds: make([]*Build, len(s.Builds)), Unfollowed: s.Unfollowed}
	for i, b := range s.Builds {
		lean.Builds[i] = b.lean
	}
	return lean
}

// Render renders the verified commits. What is wrong with what somebody pushed comes as Problems, all of it at once; any other error is
// a limit (ErrLimit), the end of ctx, or a failure to read.
func Render(ctx context.Context, in Input) (*Set, error) {
	revisions := make(map[string]revision, len(in.Verified))
	for name, v := range in.Verified {
		if !v.IsZero() {
			revisions[name] = revision{v.Commit().ID, v.Tree()}
		}
	}
	return render(ctx, in, revisions)
}

// revision is a verified commit, as the rendering reads it.
type revision struct {
	commit git.ID
	tree   signing.Tree
}

func render(ctx context.Context, in Input, revisions map[string]revision) (*Set, error) {
	limits := in.Limits.withDefaults()
	ctx, cancel := context.WithTimeoutCause(ctx, limits.Time, fmt.Errorf("%w: it took longer than %v", ErrLimit, limits.Time))
	defer cancel()
	r := newRenderer(ctx, in, revisions, limits)
	r.roots()
	if err := r.renderUnits(); err != nil {
		return nil, err
	}
	if err := r.renderChartsAgain(); err != nil {
		return nil, err
	}
	if r.broken != nil {
		return nil, r.broken
	}
	r.settle()
	set := r.merge()
	if len(r.problems) > 0 && r.presumed() {
		in.Previous = nil
		return render(ctx, in, revisions)
	}
	if len(r.problems) > 0 {
		return nil, sortProblems(r.problems)
	}
	set.Unlisted = r.unlisted(set)
	return set, nil
}

// presumed tells whether something was taken for what it was in the set before, and is not: then what seems wrong need not be.
func (r *renderer) presumed() bool {
	if r.in.Previous == nil {
		return false
	}
	for agent, before := range r.trackingBefore {
		if r.tracking(agent) != before {
			return true
		}
	}
	return !maps.Equal(r.in.Previous.scopes, r.defined)
}

// renderer is the state of one rendering.
type renderer struct {
	ctx       context.Context
	in        Input
	revisions map[string]revision // by repository
	limits    Limits
	previous  map[unitID]*Build
	scopes    map[groupKind]scope // as far as CRDs were found; until all are, also as they were in the set before
	defined   map[groupKind]scope // by the CRDs that were found
	versions  map[string]bool     // API versions of CRDs that were found

	sources   map[sourceKey]*source
	fresh     map[Key]*Object              // ConfigMaps and Secrets that are not as in the set before: see value
	met       map[unitID]met               // the builds whose objects are known
	missed    map[Key]Source               // values that were taken for absent, and by whom
	opened    map[unitID]map[string]string // what their entries decrypt to, by the texts that stand for them
	reopened  map[unitID]bool              // what was read again for that
	reopening bool
	ahead     ahead
	pending   []unit
	chartsToo bool // charts come last: they ask which API versions there are
	known     map[unitID]unit
	units     map[*Object]unit // of them, those that an object of Git means
	builds    []*Build
	problems  Problems
	unfollows Problems
	broken    error // what could not be read that was not this time's to judge

	trackingBefore map[string]argoTracking // by agent
	settled        bool

	filesRead int
	bytesRead int64
	objects   int
	turn      int // of the build that was met last
}

func newRenderer(ctx context.Context, in Input, revisions map[string]revision, limits Limits) *renderer {
	r := &renderer{
		ctx: ctx, in: in, revisions: maps.Clone(revisions), limits: limits,
		previous: map[unitID]*Build{}, scopes: map[groupKind]scope{}, defined: map[groupKind]scope{}, versions: map[string]bool{}, sources: map[sourceKey]*source{},
		fresh: map[Key]*Object{}, met: map[unitID]met{}, opened: map[unitID]map[string]string{}, reopened: map[unitID]bool{}, missed: map[Key]Source{}, known: map[unitID]unit{}, units: map[*Object]unit{},
	}
	if in.Previous != nil {
		for _, b := range in.Previous.Builds {
			r.previous[b.id] = b
		}
		// Most likely still true: what differs is noticed when everything has been read.
		maps.Copy(r.scopes, in.Previous.scopes)
		r.trackingBefore = in.Previous.tracking
	}
	return r
}

// problem notes what is wrong with what stands at a place in Git, or in the configuration.
func (r *renderer) problem(at Source, format string, args ...any) {
	r.problems = append(r.problems, Problem{at.Repository, at.Path, at.Line, fmt.Sprintf(format, args...)})
}

func (r *renderer) unfollowed(at Source, format string, args ...any) {
	r.unfollows = append(r.unfollows, Problem{at.Repository, at.Path, at.Line, fmt.Sprintf(format, args...)})
}

// add queues a unit, unless it is known: agents' objects are found again and again where an application applies itself.
func (r *renderer) add(u unit) {
	a := u.about()
	if other, ok := r.known[a.id()]; ok {
		if b := other.about(); b.spec != a.spec {
			r.problem(a.at, "%s says something else than %s: only one of them can be true", a.name(), b.place())
		}
		return
	}
	if a.depth > r.limits.Depth {
		r.problem(a.at, "%s lies %d agents' objects deep: %d is the bound", a.name(), a.depth, r.limits.Depth)
		return
	}
	r.known[a.id()] = u
	r.pending = append(r.pending, u)
}

// addOf queues the unit that an object means.
func (r *renderer) addOf(o *Object, u unit) {
	r.units[o] = u
	r.add(u)
}

// addAgain queues the unit that an object meant in the set before; false: it was not there, or is of another depth.
func (r *renderer) addAgain(o *Object, above *about) bool {
	if r.in.Previous == nil {
		return false
	}
	u, ok := r.in.Previous.units[o]
	if ok = ok && u.about().depth == above.depth+1; ok {
		r.addOf(o, u)
	}
	return ok
}

// renderUnits renders what is ready until nothing is left, then what can do without what it waits for. The rest is not followed: one
// team's Kustomization that waits for a thing outside Git must not hold up everybody's.
func (r *renderer) renderUnits() error {
	for last := false; len(r.pending) > 0; {
		waiting := r.pending
		r.pending = nil
		r.nextRound(waiting)
		progress := false
		for _, u := range waiting {
			if err := r.stop(); err != nil {
				return err
			}
			if !r.ready(u, last) {
				r.pending = append(r.pending, u)
				continue
			}
			progress = true
			if err := r.renderUnit(u); err != nil {
				return err
			}
		}
		switch {
		case progress:
			last = false
		case !r.chartsToo:
			r.chartsToo = true
		case last:
			for _, u := range r.pending {
				r.unfollowed(u.about().at, "%s", u.waits(r, true))
			}
			return nil
		default:
			last = true
		}
	}
	return nil
}

// ready tells whether it is a unit's turn.
func (r *renderer) ready(u unit, last bool) bool {
	return (r.chartsToo || !r.isChart(u)) && u.waits(r, last) == ""
}

// renderChartsAgain renders the charts that asked for API versions before all of them were found. Three times is enough for charts whose
// definitions bring out the definitions of others.
func (r *renderer) renderChartsAgain() error {
	for range 3 {
		stale := slices.Clone(r.builds)
		stale = slices.DeleteFunc(stale, func(b *Build) bool {
			u := r.known[b.id]
			return !r.isChart(u) || u.taken(r) == b.taken
		})
		if len(stale) == 0 {
			return nil
		}
		for _, b := range stale {
			r.builds = slices.DeleteFunc(r.builds, func(other *Build) bool { return other == b })
			r.objects -= len(b.Objects)
			r.unfollows = slices.DeleteFunc(r.unfollows, func(p Problem) bool { return slices.Contains(b.unfollows, p) })
			if err := r.renderUnit(r.known[b.id]); err != nil {
				return err
			}
		}
		if err := r.renderUnits(); err != nil {
			return err
		}
	}
	return nil
}

// isChart tells whether Helm renders a unit, or a part of it.
func (r *renderer) isChart(u unit) bool {
	c, ok := u.(interface{ charts(*renderer) bool })
	return ok && c.charts(r)
}

func (r *renderer) renderUnit(u unit) error {
	a := u.about()
	noted := len(r.problems)
	b, err := r.build(u)
	var syntax *syntaxError
	switch {
	case err == nil, errors.As(err, &syntax), errors.Is(err, errReported): // what is wrong was noted where it was found
	case errors.Is(err, mirror.ErrSymlink), errors.Is(err, mirror.ErrSubmodule):
		r.problem(a.at, "%s: %v", a.name(), err)
	default:
		return fmt.Errorf("render %s: %w", a.name(), err)
	}
	if r.in.Partial && a.owner.Kind != "" && len(r.problems) > noted {
		for _, p := range r.problems[noted:] {
			p.What += fmt.Sprintf(" (%s is left out)", a.name())
			r.unfollows = append(r.unfollows, p)
		}
		r.problems = r.problems[:noted]
		return nil
	}
	if err != nil {
		return nil
	}
	r.builds = append(r.builds, b)
	if r.objects += len(b.Objects); r.objects > r.limits.Objects {
		return fmt.Errorf("%w: more than %d objects", ErrLimit, r.limits.Objects)
	}
	r.discover(b)
	return nil
}

// stop tells whether it is time to.
func (r *renderer) stop() error {
	if r.ctx.Err() != nil {
		return context.Cause(r.ctx)
	}
	return nil
}

// settle puts right what was assumed of custom kinds before their definitions were found, and of values that were found after all.
func (r *renderer) settle() {
	r.settled, r.scopes = true, r.defined
	for i, b := range r.builds {
		if !r.stillDressed(b) {
			r.builds[i] = r.dress(r.known[b.id], b)
		}
	}
	for _, k := range sortedKeys(r.missed) {
		if o := r.value(k); o != nil {
			r.problem(r.missed[k], "it takes values from %s, which what it renders itself declares in %s", k, o.Source.place())
		}
	}
}

// inFileOf tells whether both stand in the same file of the same commit.
func (s Source) inFileOf(other Source) bool {
	return s.Repository == other.Repository && s.Commit == other.Commit && s.Path == other.Path && s.Base == other.Base
}

// place is "repository:path:line", as far as it is known.
func (s Source) place() string {
	if s.Repository == "" {
		return "the configuration"
	}
	p := s.Repository
	if s.Commit != "" {
		p += "@" + s.Commit.Short()
	}
	p += ":" + string(s.Path)
	if s.Line > 0 {
		p += fmt.Sprintf(":%d", s.Line)
	}
	return p
}

func sortedKeys[V any](m map[Key]V) []Key {
	return slices.SortedFunc(maps.Keys(m), Key.Compare)
}

// fileID is the object id of a file or folder, "" if there is none or the repository is not rendered.
func (r *renderer) fileID(f file) (git.ID, error) {
	v, ok := r.revisions[f.repository]
	if !ok {
		return "", nil
	}
	return v.tree.ID(f.path)
}
