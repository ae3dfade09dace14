package admit

import (
	"slices"
	"time"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/api/v1alpha1"
)

// endsSoon warns who passes by an exemption that is about to end: they are the ones who will be refused.
func (j *judgement) endsSoon(e *v1alpha1.Exemption) []string {
	if !e.EndsSoon(j.Now, v1alpha1.ExemptionNotice) {
		return nil
	}
	return warnings("commitgate: exemption " + e.Name + ", by which this passes, ends " + e.Expires.UTC().Format(time.RFC3339))
}

// ended tells who is refused of the exemptions that would have let them pass, or would have explained one of the fields, had they not ended.
func (j *judgement) ended(fields []string) []string {
	var out []string
	for i := range j.spec.Exemptions {
		e := &j.spec.Exemptions[i]
		if !e.Ended(j.Now) || !j.concerns(e) {
			continue
		}
		if p := patterns(e.Fields); len(p) == 0 || j.changesOnly(p) || explainsOne(p, fields) {
			out = append(out, warnings("commitgate: exemption "+e.Name+", which was for this, ended "+e.Expires.UTC().Format(time.RFC3339))...)
		}
	}
	return out
}

func explainsOne(patterns []account.Pattern, fields []string) bool {
	return slices.ContainsFunc(patterns, func(p account.Pattern) bool { return slices.ContainsFunc(fields, p.Match) })
}
