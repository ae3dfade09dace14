// Package verify answers, without a cluster, what the gate would say of a branch: who signed each commit of its first-parent line, and
// whether that was enough. It uses the gate's own code, and it writes down what it finds; it decides nothing.
package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/mirror"
	"github.com/commitgate/commitgate/signing"
)

// ErrRequest is wrapped by errors about what was asked: a branch, commit or repository that there is not, a configuration that cannot be used.
var ErrRequest = errors.New("cannot be asked")

// Options say what to verify.
type Options struct {
	// Name of the repository in the report.
	Name string
	// Spec are signers and rules. Its anchor may be missing.
	Spec v1alpha1.TrustedRepositorySpec
	// Policies are the folders of policies, which take two people unless a rule is about them.
	Policies []git.Path
	// Where is a work tree, a bare repository, a bundle, or a URL to fetch from.
	Where string
	// Anchor is a revision to begin at, instead of the configuration's anchor; without either it is the line's root commit.
	Anchor string
	// Branch is a branch (or any revision of a local repository) to verify; "" is the configuration's, or else HEAD.
	Branch string
	// Explain is a revision of which to tell what each of its paths took; "" for none.
	Explain string
	// At is when keys' ends are judged; now if it is zero.
	At time.Time
	// Progress, if it is not nil, is told how many of how many commits are done, from any goroutine.
	Progress func(done, total int)
}

// Report is what was found.
type Report struct {
	Repository string   `json:"repository"`
	Branch     string   `json:"branch"`
	Anchor     git.ID   `json:"anchor"` // vouched for, not judged
	Tip        git.ID   `json:"tip"`
	Good       int      `json:"good"`    // commits of the line that are accepted
	Refused    int      `json:"refused"` // and those that are not
	Signers    []Signer `json:"signers"` // of accepted commits, most commits first
	Commits    []Commit `json:"commits"` // of the line, oldest first
}

// Signer is what somebody signed.
type Signer struct {
	Principal signing.Principal `json:"principal"`
	Kind      signing.Kind      `json:"kind"`
	Key       string            `json:"key"`
	Commits   int               `json:"commits"` // of the line that count this signature
}

// Commit is one commit of the line.
type Commit struct {
	Commit     git.ID                  `json:"commit"`
	Subject    string                  `json:"subject"`
	Author     string                  `json:"author"` // as the commit says
	Signatures []Signature             `json:"signatures"`
	Rules      []string                `json:"rules,omitempty"`
	Merged     int                     `json:"merged,omitempty"` // commits that it brings in, besides itself
	Verdict    string                  `json:"verdict"`          // accepted or refused
	Cause      signing.Cause           `json:"cause,omitempty"`
	Why        string                  `json:"why,omitempty"`
	Paths      []signing.PathJudgement `json:"paths,omitempty"` // where it was explained
}

// Signature is one good signature.
type Signature struct {
	Principal signing.Principal `json:"principal"`
	Kind      signing.Kind      `json:"kind"`
	Key       string            `json:"key"`
}

// Verify judges the line. The error wraps ErrRequest, or signing.ErrNotDescendant or signing.ErrAnchor, or it is a failure of ours.
func Verify(ctx context.Context, o Options) (*Report, error) {
	repo, done, err := open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer done()
	r := &Report{Repository: o.Name, Branch: o.branch(), Commits: []Commit{}, Signers: []Signer{}}
	if r.Tip, err = tip(ctx, repo, o); err != nil {
		return nil, err
	}
	if r.Anchor, err = anchor(ctx, repo, o, r.Tip); err != nil {
		return nil, err
	}
	o.Spec.Anchor.Commit = string(r.Anchor)
	authority, err := signing.NewAuthority(o.Name, o.Spec, o.Policies...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	if !o.At.IsZero() {
		authority.Clock = func() time.Time { return o.At }
	}
	from, err := authority.Anchor(ctx, repo)
	if err != nil {
		return nil, err
	}
	if o.Explain != "" {
		return r, r.explain(ctx, repo, authority, from, o.Explain)
	}
	judgements, err := authority.Report(ctx, repo, from, r.Tip, o.Progress)
	if err != nil {
		return nil, err
	}
	for _, j := range judgements {
		r.add(j)
	}
	slices.SortStableFunc(r.Signers, func(a, b Signer) int { return cmp.Compare(b.Commits, a.Commits) })
	return r, nil
}

func (r *Report) explain(ctx context.Context, repo *mirror.Repository, a *signing.Authority, from signing.Verified, rev string) error {
	id, err := repo.Resolve(ctx, rev)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRequest, err)
	}
	j, err := a.Explain(ctx, repo, from, r.Tip, id)
	if err != nil {
		return err
	}
	r.add(j)
	return nil
}

func (r *Report) add(j signing.Judgement) {
	c := Commit{Commit: j.ID, Rules: j.Rules, Merged: j.Merged, Verdict: "accepted", Paths: j.Paths, Signatures: []Signature{}}
	if j.Commit != nil {
		c.Subject, _, _ = strings.Cut(j.Commit.Message, "\n")
		c.Author = person(j.Commit.Author)
	}
	for _, s := range j.Signatures {
		c.Signatures = append(c.Signatures, Signature(s))
	}
	if j.Refused != nil {
		r.Refused++
		c.Verdict, c.Cause, c.Why = "refused", j.Refused.Cause, j.Refused.Why
		c.Author = person(j.Refused.Author)
	} else {
		r.Good++
		for _, s := range j.Signatures {
			r.count(s)
		}
	}
	r.Commits = append(r.Commits, c)
}

func (r *Report) count(s signing.Signature) {
	i := slices.IndexFunc(r.Signers, func(have Signer) bool { return have.Principal == s.Principal && have.Key == s.Key })
	if i < 0 {
		i = len(r.Signers)
		r.Signers = append(r.Signers, Signer{Principal: s.Principal, Kind: s.Kind, Key: s.Key})
	}
	r.Signers[i].Commits++
}

func person(p git.Person) string {
	if p.Email == "" {
		return p.Name
	}
	return strings.TrimSpace(p.Name + " <" + p.Email + ">")
}

// branch is the name that the report shows.
func (o *Options) branch() string { return cmp.Or(o.Branch, o.Spec.Branch, "HEAD") }

// Open opens a repository for reading: a work tree or a folder inside one, a bare repository, a bundle; or a URL, of which one branch is
// fetched into a folder that close removes.
func Open(ctx context.Context, where, branch string) (_ *mirror.Repository, close func() error, err error) {
	if _, err := os.Stat(where); err == nil {
		if where, err = workTree(where); err != nil {
			return nil, nil, err
		}
		r, err := mirror.OpenRepository(ctx, where)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrRequest, err)
		}
		return r, r.Close, nil
	} else if !strings.Contains(where, ":") {
		return nil, nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	dir, err := os.MkdirTemp("", "commitgate-verify-")
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	m, err := mirror.Open(filepath.Join(dir, "mirror"), where, branch, mirror.Options{})
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	if _, err := m.Fetch(ctx); err != nil {
		if errors.Is(err, mirror.ErrNoBranch) {
			err = fmt.Errorf("%w: %w", ErrRequest, err)
		}
		return nil, nil, errors.Join(err, m.Close())
	}
	return m.Repository(), func() error { return errors.Join(m.Close(), os.RemoveAll(dir)) }, nil
}

func open(ctx context.Context, o Options) (*mirror.Repository, func() error, error) {
	return Open(ctx, o.Where, cmp.Or(o.Branch, o.Spec.Branch, "main"))
}

// workTree goes up to the folder that holds .git, as git does; a bare repository or a file stays.
func workTree(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	for dir := abs; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, ".git")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return abs, nil
		}
	}
}

// tip finds the commit to verify up to.
func tip(ctx context.Context, repo *mirror.Repository, o Options) (git.ID, error) {
	var errs []error
	for _, rev := range []string{o.Branch, o.Spec.Branch, "HEAD", "refs/commitgate/candidate"} {
		if rev == "" {
			continue
		}
		id, err := repo.Resolve(ctx, rev)
		if err == nil {
			return id, nil
		}
		errs = append(errs, err)
		if rev == o.Branch {
			if id, err := repo.Resolve(ctx, "refs/commitgate/candidate"); err == nil { // of a URL, one branch was fetched
				return id, nil
			}
			break // what was asked for is not to be replaced
		}
	}
	return "", fmt.Errorf("%w: %w", ErrRequest, errs[0])
}

// anchor finds the commit to begin at.
func anchor(ctx context.Context, repo *mirror.Repository, o Options, tip git.ID) (git.ID, error) {
	if o.Anchor != "" {
		id, err := repo.Resolve(ctx, o.Anchor)
		if err != nil {
			return "", fmt.Errorf("%w: %w", ErrRequest, err)
		}
		return id, nil
	}
	if o.Spec.Anchor.Commit != "" {
		return git.ID(o.Spec.Anchor.Commit), nil
	}
	return root(ctx, repo, tip)
}

// root is the first commit of the first-parent line.
func root(ctx context.Context, repo *mirror.Repository, id git.ID) (git.ID, error) {
	for {
		raw, err := repo.Commit(ctx, id)
		if err != nil {
			return "", err
		}
		if err := ctx.Err(); err != nil {
			return "", err
		}
		_, parents, err := git.Links(raw)
		if err != nil {
			return "", fmt.Errorf("commit %s: %w", id, err)
		}
		if len(parents) == 0 {
			return id, nil
		}
		if _, err := repo.Commit(ctx, parents[0]); errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("the history is cut off before %s (a shallow clone): begin there with --anchor %s, or run git fetch --unshallow", id.Short(), id)
		}
		id = parents[0]
	}
}
