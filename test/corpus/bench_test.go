package corpus

import (
	"slices"
	"testing"
	"time"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/admit"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/replay"
	"github.com/commitgate/commitgate/webhook"
)

// BenchmarkDecision measures the decision about a Deployment's recorded update, in process, against the decoding of its review: the floor of
// every webhook. The budget is twice the decoding.
func BenchmarkDecision(b *testing.B) {
	items, lines := readFile(b, "23-flux-c02-image.jsonl.gz")
	at := slices.IndexFunc(items, func(it replay.Item) bool {
		r := it.Request
		return r.Kind.Kind == "Deployment" && r.Operation == admit.Update && r.Subresource == "" && !r.DryRun && r.User.Name == "system:serviceaccount:flux-system:kustomize-controller"
	})
	if at < 0 {
		b.Fatal("the recording has no update of a Deployment by the agent")
	}
	review := lines[at].Review
	cfg := load(b, lines[at].Label.Git.Commit)
	crds := replay.CRDs(items)
	truth := truthAt(b, cfg, crds)
	builtin, err := account.NewTypes(crds)
	if builtin == nil {
		b.Fatal(err)
	}
	gate := admit.New(cfg, builtin)
	world := admit.World{Truth: truth, Live: new(live.Store), Now: time.Now()}

	var floor time.Duration
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := webhook.Decode(review); err != nil {
				b.Fatal(err)
			}
		}
		floor = b.Elapsed() / time.Duration(b.N)
	})
	human := *items[at].Request
	human.User = admit.User{Name: "carol"}
	human.Object = map[string]any{}
	for k, v := range items[at].Request.Object {
		human.Object[k] = v
	}
	spec := map[string]any{}
	for k, v := range human.Object["spec"].(map[string]any) {
		spec[k] = v
	}
	spec["replicas"] = int64(99)
	human.Object["spec"] = spec
	for name, tt := range map[string]struct {
		request *admit.Request
		want    admit.Outcome
	}{"agent allowed": {items[at].Request, admit.Allow}, "human refused": {&human, admit.Deny}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var times []time.Duration
			for b.Loop() {
				began := time.Now()
				d := gate.Decide(b.Context(), tt.request, world)
				times = append(times, time.Since(began))
				if d.Outcome != tt.want {
					b.Fatalf("%s: %s", d.Outcome, d.Message)
				}
			}
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "p99-µs")
			if floor > 0 {
				b.ReportMetric(float64(times[len(times)/2])/float64(floor), "decode-x")
			}
		})
	}
}
