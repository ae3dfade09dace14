package manifest

import (
	"fmt"
	"net/url"
	"path"
	"strings"

	"github.com/commitgate/commitgate/api/v1alpha1"
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

// follows tells whether a branch, tag or commit that an agent follows is what is verified of a repository; the text says why not.
func (r *renderer) follows(t *v1alpha1.TrustedRepository, revision string) (why string) {
	v, ok := r.revisions[t.Name]
	switch {
	case !ok:
		return fmt.Sprintf("repository %s has no verified commit yet", t.Name)
	case revision == t.Spec.Branch, revision == "refs/heads/"+t.Spec.Branch, revision == string(v.commit):
		return ""
	}
	return fmt.Sprintf("it follows %q of repository %s; what is verified there is branch %s", revision, t.Name, t.Spec.Branch)
}
