package signing

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
)

// rule says whose signatures a change to some paths takes.
type rule struct {
	number     int         // from 1; 0 is the rule that holds where there are none
	paths      []string    // empty is every path
	principals patternList // empty is every signer but forges
	threshold  int         // at least 1
}

func newRules(in []v1alpha1.Rule) (rules []rule, problems []error) {
	if len(in) == 0 {
		return []rule{{threshold: 1}}, nil
	}
	for i, r := range in {
		bad := func(field, format string, args ...any) {
			problems = append(problems, fmt.Errorf("rules[%d].%s: %w", i, field, fmt.Errorf(format, args...)))
		}
		if r.Threshold < 0 {
			bad("threshold", "negative")
		}
		for j, p := range r.Paths {
			if err := checkPattern(p); err != nil {
				bad(fmt.Sprintf("paths[%d]", j), "%q: %w", p, err)
			}
		}
		if slices.Contains(r.Principals, "") {
			bad("principals", "an empty principal")
		}
		rules = append(rules, rule{number: i + 1, paths: r.Paths, principals: r.Principals, threshold: max(1, r.Threshold)})
	}
	return rules, problems
}

// checkPattern refuses a pattern that could never match a path of a tree, or that means something else than it seems to.
func checkPattern(p string) error {
	for segment := range strings.SplitSeq(p, "/") {
		switch {
		case segment == "" || segment == "." || segment == "..":
			return fmt.Errorf("segment %q matches no path of a tree: write apps/**, not /apps or apps/", segment)
		case strings.Contains(segment, "**") && segment != "**":
			return fmt.Errorf("** stands for whole segments: it cannot be part of %q", segment)
		}
		if _, err := path.Match(segment, ""); err != nil {
			return err
		}
	}
	return nil
}

func (r *rule) covers(p git.Path) bool {
	if len(r.paths) == 0 {
		return true
	}
	return slices.ContainsFunc(r.paths, func(pattern string) bool { return matchPath(pattern, string(p)) })
}

// names tells whether a rule is about a path: it has it word for word, or a pattern below it.
func (r *rule) names(p git.Path) bool {
	if p == "." {
		return r.number != 0 // everything is policies: every rule is about them
	}
	return slices.ContainsFunc(r.paths, func(pattern string) bool { return pattern == string(p) || strings.HasPrefix(pattern, string(p)+"/") })
}

// counts tells whether somebody's signature counts for this rule. A forge's does only if the rule has its name word for word.
func (r *rule) counts(p Principal, forge bool) bool {
	if forge {
		return slices.Contains(r.principals, string(p))
	}
	return len(r.principals) == 0 || r.principals.match(string(p))
}

func (r *rule) String() string {
	what := "every path"
	if len(r.paths) > 0 {
		what = strings.Join(r.paths, ", ")
	}
	if r.number == 0 {
		return "the rule for " + what
	}
	return fmt.Sprintf("rule %d (%s)", r.number, what)
}

// who is whom a rule names, for people.
func (r *rule) who() string {
	if len(r.principals) == 0 {
		return "any signer of the list"
	}
	return strings.Join(r.principals, ", ")
}

// guarded is what makes a path one of those that take two people: the signer list, or the folder of policies that it is in; "" if nothing does.
func (a *Authority) guarded(p git.Path) git.Path {
	if a.listPath != "" && p == a.listPath {
		return a.listPath
	}
	if i := slices.IndexFunc(a.policies, func(folder git.Path) bool { return folder.Contains(p) }); i >= 0 {
		return a.policies[i]
	}
	return ""
}

// ruleFor finds the rule for a path, judged by a list; nil if nobody may change it.
func (a *Authority) ruleFor(p git.Path, l *list) *rule {
	i := slices.IndexFunc(a.rules, func(r rule) bool { return r.covers(p) })
	if i < 0 {
		return nil
	}
	r := &a.rules[i]
	guarded := a.guarded(p)
	if guarded == "" || r.names(guarded) {
		return r
	}
	// The list decides everything that follows, and policies what passes, so no single key may change them while there are two people.
	strict := *r
	if r.threshold < 2 && (l.open || len(slices.DeleteFunc(slices.Clone(l.people), func(p Principal) bool { return !r.counts(p, false) })) > 1) {
		strict.threshold = 2
	}
	return &strict
}

// vouched is who vouches for the changed paths of a commit: its own signer for all, signers of merged-in commits for what they changed
// and what stands in the commit as they signed it.
type vouched struct {
	signature Signature
	paths     []git.Path // sorted; nil stands for all
}

func (v *vouched) covers(p git.Path) bool {
	if v.paths == nil {
		return true
	}
	_, ok := slices.BinarySearch(v.paths, p)
	return ok
}

// enough tells whether those who vouch are enough for every path, by the first rule that covers it. The rules that it took go into j, and with
// j.explain what was found for each path; then all paths are looked at, and the first error is returned.
func (a *Authority) enough(changed []git.Path, vouch []vouched, l *list, j *Judgement) error {
	var first error
	for _, p := range changed {
		r := a.ruleFor(p, l)
		pj := PathJudgement{Path: p}
		err := refuse(CauseNotAllowed, "no rule lets anybody change %s", clip(string(p)))
		if r != nil {
			if name := r.String(); !slices.Contains(j.Rules, name) {
				j.Rules = append(j.Rules, name)
			}
			pj.Rule, pj.Threshold = r.String(), r.threshold
			pj.Counted, err = r.satisfied(p, vouch, l)
		}
		if !j.explain && err != nil {
			return err
		}
		if j.explain {
			pj.Enough = err == nil
			j.Paths = append(j.Paths, pj)
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// satisfied tells who counts for a path by this rule, and whether they are enough. Whoever made the commit must count: a merge is its maker's change, and
// what others signed on a branch only adds to it. Else anybody could merge what somebody has signed and put away.
func (r *rule) satisfied(p git.Path, vouch []vouched, l *list) (counted []Principal, err error) {
	maker := vouch[0].signature.Principal
	if !r.counts(maker, l.forges[maker]) {
		return nil, refuse(CauseNotAllowed, "%s may not change %s: %s asks for %s", maker, clip(string(p)), r, r.who())
	}
	for i := range vouch {
		who := vouch[i].signature.Principal
		if vouch[i].covers(p) && r.counts(who, l.forges[who]) && !slices.Contains(counted, who) {
			counted = append(counted, who)
		}
	}
	if len(counted) >= r.threshold {
		return counted, nil
	}
	return counted, refuse(CauseTooFew, "%s takes %d people by %s, and only %s signed: have somebody else merge a signed branch (git merge --no-ff -S)",
		clip(string(p)), r.threshold, r, join(counted))
}

func join(principals []Principal) string {
	s := make([]string, len(principals))
	for i, p := range principals {
		s[i] = string(p)
	}
	return strings.Join(s, ", ")
}
