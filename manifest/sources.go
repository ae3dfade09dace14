package manifest

import (
	"fmt"
	"net/url"
	"path"
	"strings"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
)

// repositoryOf finds the trusted repository that a URL names, by its own URL or an alias. Only the place counts, not how it is
// reached: whatever the agent fetches there, the gate goes by what it verified itself.
func (r *renderer) repositoryOf(url string) *v1alpha1.TrustedRepository {
	want := placeOf(url)
	for i := range r.in.Repositories {
		t := &r.in.Repositories[i]
		if placeOf(t.Spec.URL) == want {
			return t
		}
		for _, alias := range t.Spec.Aliases {
			if placeOf(alias) == want {
				return t
			}
		}
	}
	return nil
}

// placeOf is host and path of a Git URL: https://me@Host.example/org/repo.git, ssh://git@host.example/org/repo and git@host.example:org/repo are one.
func placeOf(raw string) string {
	raw = strings.TrimSpace(raw)
	if path.IsAbs(raw) {
		return trimGit(path.Clean(raw))
	}
	if !strings.Contains(raw, "://") {
		if host, rest, ok := strings.Cut(raw, ":"); ok && !strings.Contains(host, "/") {
			raw = "ssh://" + host + "/" + strings.TrimPrefix(rest, "/")
		}
	}
	u, err := url.Parse(raw)
	if err != nil {
		return trimGit(raw)
	}
	host := strings.ToLower(u.Hostname())
	switch port := u.Port(); port {
	case "", "22", "80", "443":
	default:
		host += ":" + port
	}
	return host + trimGit(path.Clean("/"+u.Path))
}

func trimGit(s string) string {
	return strings.TrimSuffix(strings.TrimSuffix(s, "/"), ".git")
}

// follow is a trusted repository at what an agent follows of it: its protected branch, or one commit of it that was verified; nil and why if that is
// not what is verified.
func (r *renderer) follow(t *v1alpha1.TrustedRepository, revision string) (at *v1alpha1.TrustedRepository, why string) {
	if _, ok := r.revisions[t.Name]; !ok {
		return nil, fmt.Sprintf("repository %s has no verified commit yet", t.Name)
	}
	if revision == t.Spec.Branch || revision == "refs/heads/"+t.Spec.Branch {
		return t, ""
	}
	commit, err := git.ParseID(revision)
	if err != nil {
		return nil, fmt.Sprintf("it follows %q of repository %s; what is verified there is branch %s", revision, t.Name, t.Spec.Branch)
	}
	pinned := *t
	if pinned.Name, why = r.pin(t, commit); why != "" {
		return nil, why
	}
	return &pinned, ""
}
