package controller

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/breakglass"
	"github.com/commitgate/commitgate/snapshot"
	"github.com/commitgate/commitgate/track"
)

const (
	// heardEvery is how far the time of the last answer of a Git host may lie back in a status: it alone is not worth a write at each fetch.
	heardEvery = 5 * time.Minute
	// maxMessage bounds a condition's message; the whole of it is in the log.
	maxMessage = 1024
)

// repositoryStatus is how a trusted repository stands.
func repositoryStatus(r *v1alpha1.TrustedRepository, s State, now time.Time) v1alpha1.TrustedRepositoryStatus {
	out := v1alpha1.TrustedRepositoryStatus{ObservedGeneration: r.Generation}
	set := conditions(&out.Conditions, r.Status.Conditions, r.Generation, now)
	served := s.Config.Repository(r.Name)
	standing := slices.IndexFunc(s.Repositories, func(x track.Status) bool { return x.Repository == r.Name })
	if served == nil || standing < 0 {
		unserved(set, s)
		return out
	}
	stands := s.Repositories[standing]
	out.Commit, out.Revision = stands.Published.Short(), string(stands.Published)
	out.Signer = signerOf(s.Truth, r.Name)
	out.Heard = heardAt(r.Status.Heard, stands.Heard)

	set(fetched(stands))
	set(verified(stands))
	set(ready(stands, served.Spec.StaleAfter.Duration, now))
	set(servedAs(s, differences(&served.Spec, &r.Spec)))
	return out
}

func fetched(s track.Status) metav1.Condition {
	switch {
	case s.FetchError != "":
		return failing(v1alpha1.ConditionFetched, v1alpha1.ConditionReasonFailed, s.FetchError)
	case s.Heard.IsZero():
		return waiting(v1alpha1.ConditionFetched, "the Git host has not been asked yet")
	}
	return holding(v1alpha1.ConditionFetched, "")
}

func verified(s track.Status) metav1.Condition {
	switch {
	case s.Refused != nil && (s.Refused.Stage == track.StageVerify || s.Refused.Stage == track.StageFetch):
		return failing(v1alpha1.ConditionVerified, v1alpha1.ConditionReasonRefused, refusal(s.Refused))
	case s.Verified == "":
		return waiting(v1alpha1.ConditionVerified, "nothing has been verified yet")
	}
	return holding(v1alpha1.ConditionVerified, "")
}

func ready(s track.Status, staleAfter time.Duration, now time.Time) metav1.Condition {
	switch {
	case s.Refused != nil:
		return failing(v1alpha1.ConditionReady, v1alpha1.ConditionReasonRefused, refusal(s.Refused))
	case s.Published == "" && s.FetchError != "":
		return failing(v1alpha1.ConditionReady, v1alpha1.ConditionReasonFailed, s.FetchError)
	case s.Published == "" || s.Head != s.Published:
		return failing(v1alpha1.ConditionReady, v1alpha1.ConditionReasonWaiting, "the last commit is not the truth yet")
	case staleAfter > 0 && now.Sub(s.Heard) > staleAfter:
		return failing(v1alpha1.ConditionReady, v1alpha1.ConditionReasonStale, fmt.Sprintf("the Git host has not answered for longer than %s: what depends on Git is told to wait", staleAfter))
	}
	return holding(v1alpha1.ConditionReady, "")
}

// refusal is why a commit is not accepted, in a line.
func refusal(r *track.Refusal) string {
	return fmt.Sprintf("commit %s is refused (%s): %s", r.Commit.Short(), r.Stage, r.Why)
}

// signerOf is who signed the revision that is the truth.
func signerOf(truth *snapshot.Truth, repository string) string {
	if truth.Current == nil || truth.Current.Revisions[repository] == nil {
		return ""
	}
	var people []string
	for _, s := range truth.Current.Revisions[repository].Signatures {
		if p := string(s.Principal); !slices.Contains(people, p) {
			people = append(people, p)
		}
	}
	return strings.Join(people, ", ")
}

// heardAt keeps the time that a status shows while it is near enough.
func heardAt(shown *metav1.Time, heard time.Time) *metav1.Time {
	if heard.IsZero() {
		return nil
	}
	if shown != nil && !heard.Before(shown.Time) && heard.Sub(shown.Time) < heardEvery {
		return shown
	}
	return &metav1.Time{Time: heard.UTC().Truncate(time.Second)}
}

// gateStatus is how a gate stands.
func gateStatus(g *v1alpha1.Gate, s State, now time.Time) v1alpha1.GateStatus {
	out := v1alpha1.GateStatus{ObservedGeneration: g.Generation}
	set := conditions(&out.Conditions, g.Status.Conditions, g.Generation, now)
	if g.Name != s.Config.Gate.Name {
		unserved(set, s)
		return out
	}
	if s.Truth.Current != nil {
		out.Objects = s.Truth.Current.Len()
	}
	out.Exemptions = s.Config.Gate.Spec.ExemptionSummary(now)
	var missing []string
	for _, r := range s.Repositories {
		if !r.Ready() {
			missing = append(missing, r.Repository)
		}
	}
	switch {
	case s.Invalid != "":
		set(failing(v1alpha1.ConditionReady, v1alpha1.ConditionReasonInvalid, s.Invalid))
	case len(missing) > 0:
		set(failing(v1alpha1.ConditionReady, v1alpha1.ConditionReasonWaiting, "no revision is the truth yet of "+strings.Join(missing, ", ")))
	default:
		set(holding(v1alpha1.ConditionReady, ""))
	}
	set(listed(s))
	spec := g.Spec.DeepCopy()
	spec.SetDefaults()
	set(servedAs(s, differences(&s.Config.Gate.Spec, spec)))
	return out
}

// listed tells whether the users that Git has the agents act as are configured: the first request of one who is not is refused, with nobody near.
func listed(s State) metav1.Condition {
	if s.Truth.Current == nil {
		return waiting(v1alpha1.ConditionListed, "no revision is the truth yet")
	}
	if users := s.Truth.Current.Rendered.UnlistedUsers(); len(users) > 0 {
		return failing(v1alpha1.ConditionListed, v1alpha1.ConditionReasonUnlisted, strings.Join(users, "; "))
	}
	return holding(v1alpha1.ConditionListed, "")
}

// grantStatus is what became of a grant.
func grantStatus(g *v1alpha1.Grant, s State, now time.Time) v1alpha1.GrantStatus {
	out := v1alpha1.GrantStatus{ObservedGeneration: g.Generation, State: string(breakglass.Refused)}
	if s.Grants != nil {
		for _, x := range s.Grants.Standings(now) {
			if x.Name != g.Name {
				continue
			}
			out.State, out.Uses, out.Message = string(x.State), x.Uses, x.Revoked
			for _, p := range x.SignedBy {
				out.SignedBy = append(out.SignedBy, string(p))
			}
			if x.State == breakglass.Deleted {
				out.Message = breakglass.ErrSpent.Error()
			}
			return out
		}
	}
	if err := s.Grants.Judge(g, now); err != nil {
		out.Message = short(err.Error())
		return out
	}
	out.State = string(breakglass.Pending) // good, and not taken up yet
	return out
}

// unserved says of an object that the gate has none such.
func unserved(set func(metav1.Condition), s State) {
	if s.Invalid != "" {
		set(failing(v1alpha1.ConditionReady, v1alpha1.ConditionReasonInvalid, s.Invalid))
		set(failing(v1alpha1.ConditionServed, v1alpha1.ConditionReasonInvalid, s.Invalid))
		return
	}
	set(failing(v1alpha1.ConditionReady, v1alpha1.ConditionReasonUnknown, "the gate's configuration has no object of this name"))
	set(failing(v1alpha1.ConditionServed, v1alpha1.ConditionReasonUnknown, "the gate's configuration has no object of this name"))
}

// servedAs tells whether the gate goes by what the object says.
func servedAs(s State, differ []string) metav1.Condition {
	switch {
	case len(differ) == 0:
		return holding(v1alpha1.ConditionServed, "")
	case s.Invalid != "":
		return failing(v1alpha1.ConditionServed, v1alpha1.ConditionReasonInvalid, s.Invalid)
	}
	return failing(v1alpha1.ConditionServed, v1alpha1.ConditionReasonDiffers, "the gate goes by another "+strings.Join(differ, ", "))
}

// differences are the fields of a spec, by name, in which two differ as JSON.
func differences(a, b any) []string {
	x, y := fieldsOf(a), fieldsOf(b)
	var out []string
	for name := range x {
		if !reflect.DeepEqual(x[name], y[name]) {
			out = append(out, "spec."+name)
		}
	}
	for name := range y {
		if _, ok := x[name]; !ok {
			out = append(out, "spec."+name)
		}
	}
	slices.Sort(out)
	return out
}

func fieldsOf(spec any) map[string]any {
	out := map[string]any{}
	data, err := json.Marshal(spec)
	if err == nil {
		err = json.Unmarshal(data, &out)
	}
	if err != nil {
		return map[string]any{"": err.Error()} // what cannot be compared differs
	}
	return out
}

// conditions fills a list with conditions. One whose status is as it was keeps its time.
func conditions(list *[]metav1.Condition, were []metav1.Condition, generation int64, now time.Time) func(metav1.Condition) {
	return func(c metav1.Condition) {
		c.ObservedGeneration = generation
		c.Message = short(c.Message)
		c.LastTransitionTime = metav1.Time{Time: now.UTC().Truncate(time.Second)}
		if was := meta.FindStatusCondition(were, c.Type); was != nil && was.Status == c.Status {
			c.LastTransitionTime = was.LastTransitionTime
		}
		*list = append(*list, c)
	}
}

func holding(kind, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: v1alpha1.ConditionReasonCurrent, Message: message}
}

func failing(kind, reason, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: metav1.ConditionFalse, Reason: reason, Message: message}
}

func waiting(kind, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: metav1.ConditionUnknown, Reason: v1alpha1.ConditionReasonWaiting, Message: message}
}

// short bounds a message at a whole character.
func short(s string) string {
	if len(s) <= maxMessage {
		return s
	}
	return strings.ToValidUTF8(s[:maxMessage], "") + "…"
}
