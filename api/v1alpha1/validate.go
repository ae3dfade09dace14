package v1alpha1

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/version"
)

// Defaults of what a configuration leaves out.
const (
	DefaultInterval = 30 * time.Second
	DefaultWindow   = 5 * time.Minute
	// DefaultThreshold: breaking glass takes two people unless somebody writes otherwise.
	DefaultThreshold = 2
	// DefaultMaxDuration: an emergency is over, or has become a change, within a day.
	DefaultMaxDuration = 24 * time.Hour
)

// SetDefaults fills in what a configuration leaves out.
func (s *GateSpec) SetDefaults() {
	if s.Mode == "" {
		s.Mode = ModeEnforce
	}
	if s.Scope == "" {
		s.Scope = ScopeEverything
	}
	if s.Window.Duration == 0 {
		s.Window = metav1.Duration{Duration: DefaultWindow}
	}
	if b := s.BreakGlass; b != nil {
		if b.Threshold == 0 {
			b.Threshold = DefaultThreshold
		}
		if b.MaxDuration.Duration == 0 {
			b.MaxDuration = metav1.Duration{Duration: DefaultMaxDuration}
		}
	}
}

// invalid is a problem of one field, by its path in the document.
type invalid struct{ field, message string }

type invalids []invalid

func (v *invalids) add(field, format string, args ...any) {
	*v = append(*v, invalid{field, fmt.Sprintf(format, args...)})
}

func (v *invalids) oneOf(field string, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		v.add(field, "%q: want one of %s", value, strings.Join(allowed, ", "))
	}
}

func validateRepository(r *TrustedRepository) invalids {
	var v invalids
	if msgs := validation.IsDNS1123Subdomain(r.Name); len(msgs) > 0 {
		v.add("metadata.name", "%q: %s", r.Name, msgs[0])
	}
	if r.Spec.URL == "" {
		v.add("spec.url", "required")
	}
	if r.Spec.Branch == "" || strings.HasPrefix(r.Spec.Branch, "refs/") || strings.HasPrefix(r.Spec.Branch, "-") {
		v.add("spec.branch", "%q: want a branch name without refs/heads/", r.Spec.Branch)
	}
	if n := len(r.Spec.Anchor.Commit); n != 40 && n != 64 || strings.Trim(r.Spec.Anchor.Commit, "0123456789abcdef") != "" {
		v.add("spec.anchor.commit", "%q: want a full commit id (40 or 64 lower-case hexadecimal digits)", r.Spec.Anchor.Commit)
	}
	if r.Spec.History != "" {
		v.oneOf("spec.history", string(r.Spec.History), string(HistoryFirstParent), string(HistoryFull))
	}
	for name, d := range map[string]metav1.Duration{"interval": r.Spec.Interval, "staleAfter": r.Spec.StaleAfter} {
		if d.Duration < 0 {
			v.add("spec."+name, "negative")
		}
	}
	return v
}

func validateGate(c *Config) invalids {
	var v invalids
	s := &c.Gate.Spec
	modes := []string{string(ModeEnforce), string(ModeWarn), string(ModeAudit)}
	scopes := []string{string(ScopeEverything), string(ScopeDeclared)}
	v.oneOf("spec.mode", string(s.Mode), modes...)
	v.oneOf("spec.scope", string(s.Scope), scopes...)
	if s.Window.Duration < 0 {
		v.add("spec.window", "negative")
	}
	for i, o := range s.Overrides {
		field := fmt.Sprintf("spec.overrides[%d]", i)
		if o.Mode == "" && o.Scope == "" {
			v.add(field, "changes neither mode nor scope")
		}
		if o.Mode != "" {
			v.oneOf(field+".mode", string(o.Mode), modes...)
		}
		if o.Scope != "" {
			v.oneOf(field+".scope", string(o.Scope), scopes...)
			if len(o.Reasons) > 0 {
				v.add(field+".reasons", "a scope is chosen before there is a reason: leave scope or reasons out")
			}
		}
		v.patterns(field+".namespaces", o.Namespaces)
	}
	if d := s.Decryption; d != nil {
		v.oneOf("spec.decryption.provider", d.Provider, "", "sops")
		if d.Keys == "" {
			v.add("spec.decryption.keys", "missing: the folder with *.agekey and *.asc files")
		}
	}
	v.roots(c)
	v.agents(s)
	if k := s.Kubernetes.Version; k != "" {
		if _, err := version.ParseGeneric(k); err != nil {
			v.add("spec.kubernetes.version", "%q is no version: want one such as v1.36.3", k)
		}
	}
	v.exemptions(s)
	v.breakGlass(s)
	for i, r := range s.DryRuns {
		v.patterns(fmt.Sprintf("spec.dryRuns[%d].namespaces", i), r.Namespaces)
	}
	if len(s.DryRuns) > 0 && s.ServiceAccount == "" {
		v.add("spec.serviceAccount", "missing: with dryRuns the gate may ask for writes, and must refuse all others under its own name")
	}
	for i, r := range s.Policies {
		if c.Repository(r.Repository) == nil {
			v.add(fmt.Sprintf("spec.policies[%d].repository", i), "%q: no such TrustedRepository", r.Repository)
		}
	}
	for i, r := range s.Connect {
		field := fmt.Sprintf("spec.connect[%d]", i)
		if len(r.Users)+len(r.Groups) == 0 {
			v.add(field, "allows nobody: want users or groups")
		}
		for j, sub := range r.Subresources {
			v.oneOf(fmt.Sprintf("%s.subresources[%d]", field, j), sub, "exec", "attach", "portforward", "proxy")
		}
	}
	return v
}

func (v *invalids) roots(c *Config) {
	s := &c.Gate.Spec
	if len(s.Roots) == 0 {
		v.add("spec.roots", "required: a path of a trusted repository, or an agent's object word for word")
	}
	for i, r := range s.Roots {
		field := fmt.Sprintf("spec.roots[%d]", i)
		switch {
		case r.Path == "" && len(r.Objects) == 0:
			v.add(field, "want path or objects")
		case r.Path != "" && len(r.Objects) > 0:
			v.add(field, "want either path or objects, not both")
		case r.Path != "" && r.Repository == "":
			v.add(field+".repository", "required with path")
		}
		if r.Repository != "" && c.Repository(r.Repository) == nil {
			v.add(field+".repository", "%q: no such TrustedRepository", r.Repository)
		}
		if r.Agent != "" && !slices.ContainsFunc(s.Agents, func(a Agent) bool { return a.Name == r.Agent }) {
			v.add(field+".agent", "%q: no such agent", r.Agent)
		}
		if r.Release != nil {
			v.release(field+".release", s, r)
		}
		if r.Agent == "" && r.Path != "" && len(s.Agents) > 1 {
			v.add(field+".agent", "required: there are %d agents", len(s.Agents))
		}
	}
}

func (v *invalids) release(field string, s *GateSpec, r Root) {
	if r.Path == "" {
		v.add(field, "of the chart at path, which is not set")
	}
	if r.Release.Name == "" || r.Release.Namespace == "" || len(r.Release.Name) > 53 {
		v.add(field, "want name (of at most 53 characters) and namespace")
	}
	for _, a := range s.Agents {
		if (a.Name == r.Agent || r.Agent == "" && len(s.Agents) == 1) && a.Preset != PresetPipeline {
			v.add(field, "only of an agent with preset %s: the others say in Git what they release", PresetPipeline)
		}
	}
}

func (v *invalids) agents(s *GateSpec) {
	if len(s.Agents) == 0 {
		v.add("spec.agents", "required: without an agent nothing could ever be applied")
	}
	owner := map[string]string{}
	for i, a := range s.Agents {
		field := fmt.Sprintf("spec.agents[%d]", i)
		if a.Name == "" {
			v.add(field+".name", "required")
		}
		if slices.ContainsFunc(s.Agents[:i], func(b Agent) bool { return b.Name == a.Name }) {
			v.add(field+".name", "%q stands twice", a.Name)
		}
		v.oneOf(field+".preset", string(a.Preset), string(PresetFlux), string(PresetArgoCD), string(PresetFleet), string(PresetConfigSync), string(PresetPipeline))
		if len(a.Users)+len(a.Impersonates) == 0 {
			v.add(field+".users", "required: exact user names")
		}
		for _, u := range slices.Concat(a.Users, a.Impersonates) {
			if strings.ContainsAny(u, "*?") {
				v.add(field+".users", "%q: user names are exact, not patterns", u)
			}
			if strings.HasPrefix(u, "system:serviceaccount:kube-system:") && s.ServiceAccount == u {
				v.add(field+".users", "%q is the gate itself", u)
			}
			if other, ok := owner[u]; ok && other != a.Name {
				v.add(field+".users", "%q is agent %q too", u, other)
			}
			owner[u] = a.Name
		}
		v.patterns(field+".pods", a.Pods)
		if a.Fleet != nil && a.Preset != PresetFleet {
			v.add(field+".fleet", "only of an agent with preset %s", PresetFleet)
		}
	}
}

func (v *invalids) exemptions(s *GateSpec) {
	for i, e := range s.Exemptions {
		field := fmt.Sprintf("spec.exemptions[%d]", i)
		if e.Name == "" {
			v.add(field+".name", "required")
		}
		if strings.TrimSpace(e.Reason) == "" {
			v.add(field+".reason", "required: an exemption without a reason cannot be reviewed")
		}
		if len(e.Users)+len(e.Groups) == 0 && len(e.Fields) == 0 {
			v.add(field, "exempts everybody from everything: want users, groups or fields")
		}
		for j, op := range e.Operations {
			v.oneOf(fmt.Sprintf("%s.operations[%d]", field, j), op, "CREATE", "UPDATE", "DELETE", "CONNECT")
		}
		v.patterns(field+".namespaces", e.Namespaces)
		v.patterns(field+".names", e.Names)
	}
}

func (v *invalids) breakGlass(s *GateSpec) {
	b := s.BreakGlass
	if b == nil {
		return
	}
	if s.Cluster == "" {
		v.add("spec.cluster", "required with breakGlass: a grant is bound to it")
	}
	if b.MaxDuration.Duration < 0 {
		v.add("spec.breakGlass.maxDuration", "negative")
	}
	v.grantLimits(&b.Limits)
	people := map[string]bool{}
	for i, signer := range b.Signers {
		field := fmt.Sprintf("spec.breakGlass.signers[%d]", i)
		switch {
		case signer.Principal == "":
			v.add(field+".principal", "required")
		case people[signer.Principal]:
			v.add(field+".principal", "%q stands twice", signer.Principal)
		case len(signer.SSH) == 0 && signer.OpenPGP == "":
			v.add(field, "no key: want ssh or openpgp")
		}
		people[signer.Principal] = true
	}
	if b.Threshold < 0 || b.Threshold > len(b.Signers) {
		v.add("spec.breakGlass.threshold", "%d of %d signers could never sign", b.Threshold, len(b.Signers))
	}
}

func (v *invalids) patterns(field string, patterns []string) {
	for i, p := range patterns {
		if _, err := path.Match(p, ""); err != nil {
			v.add(fmt.Sprintf("%s[%d]", field, i), "%q: %v", p, err)
		}
	}
}
