package signing_test

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/signing"
	"github.com/commitgate/commitgate/test/forge"
)

func TestReportGoesOnAfterARefusal(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.spec.Rules = []v1alpha1.Rule{{Paths: []string{"secure/**"}, Threshold: 2}, {}}
	s.commit(s.ada, map[string]string{"a.yaml": "1"})
	bad := s.commit(forge.WithoutKey("eve", "eve@example.org"), map[string]string{"a.yaml": "2"})
	s.branch("side", "HEAD")
	inside := s.commit(s.ada, map[string]string{"secure/x.yaml": "1"})
	merge := s.merge(s.bob, "side")
	alone := s.commit(s.bob, map[string]string{"secure/y.yaml": "1", "b.yaml": "1"})
	r, a := s.open(), s.authority()
	from := must(a.Anchor(t.Context(), r))(t)
	var calls, last atomic.Int64
	judgements := must(a.Report(t.Context(), r, from, alone, func(done, total int) {
		calls.Add(1)
		if done == total {
			last.Add(1)
		}
	}))(t)
	var got []string
	for _, j := range judgements {
		cause := "accepted"
		if j.Refused != nil {
			cause = string(j.Refused.Cause)
		}
		got = append(got, cause)
	}
	if want := "accepted Unsigned accepted TooFew"; strings.Join(got, " ") != want || judgements[1].ID != bad || judgements[2].Merged != 1 {
		t.Errorf("judged %v, want %s", got, want)
	}
	if calls.Load() != 4 || last.Load() != 1 {
		t.Errorf("progress was told %d times, of its end %d times", calls.Load(), last.Load())
	}

	explain := func(id git.ID) (signing.Judgement, error) { return a.Explain(t.Context(), r, from, alone, id) }
	j := must(explain(merge))(t)
	if len(j.Paths) != 1 || !j.Paths[0].Enough || j.Paths[0].Threshold != 2 || len(j.Paths[0].Counted) != 2 || j.Refused != nil {
		t.Errorf("the merge: %+v", j)
	}
	j = must(explain(alone))(t)
	if len(j.Paths) != 2 || !j.Paths[0].Enough || j.Paths[1].Enough || j.Refused == nil || len(j.Rules) != 2 {
		t.Errorf("the last commit: %+v", j)
	}
	if _, err := explain(inside); err == nil || !strings.Contains(err.Error(), "came in with merge "+merge.Short()) {
		t.Errorf("a merged-in commit: %v", err)
	}
	if _, err := explain(from.Commit().ID); err == nil {
		t.Error("the anchor is explained: it was never judged")
	}
}
