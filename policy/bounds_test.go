package policy

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"
)

// bombs are policies that never come to an end, or that take all the memory there is, by different ways.
func bombs() map[string]string {
	return map[string]string{
		"a search through everything": `deny contains "x" if {
	some a in numbers.range(1, 3000)
	some b in numbers.range(1, 3000)
	some c in numbers.range(1, 3000)
	(a + b) + c < 0
}`,
		"a list of everything": `deny contains "x" if {
	l := [s | some a in numbers.range(1, 100000); s := sprintf("%d%s", [a, concat("", [input.object.metadata.name | numbers.range(1, 100)[_]])])]
	count({x | some a in l; some b in l; x := concat("", [a, b])}) < 0
}`,
		"one call that takes long": `deny contains "x" if count(numbers.range(1, 2000000000)) < 0`,
		"one string of everything": `deny contains "x" if count(concat("", [s | some _ in numbers.range(1, 1000000000); s := "xxxxxxxx"])) < 0`,
	}
}

// A bomb in one policy costs the request that met it, and nobody else: it is cut off, refused, and the next request is judged.
func TestABombIsCutOffAndRefused(t *testing.T) {
	for name, rego := range bombs() {
		t.Run(name, func(t *testing.T) {
			s, err := load(context.Background(), Limits{Time: 100 * time.Millisecond, Memory: 64 << 20}, false,
				folder{fsys: tree("a.rego", "package commitgate.a\n\n"+rego+"\n", "b.rego", latest), root: "."})
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				r := mustDecide(t, s, create(t, pod))
				if r.Allowed() || len(r.Denials) == 0 || !r.Denials[0].Failed || !strings.Contains(messages(r.Denials), "cut off") {
					t.Fatalf("%+v", r)
				}
			}
			mustEnd(t, s)
		})
	}
}

// mustEnd waits until what was left behind has ended, and is counted as ended: what it allocates would be laid to the next test's decisions.
func mustEnd(t *testing.T, s *Set) {
	t.Helper()
	for range 1200 {
		if s.strays.Load() == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("%d evaluations are still running", s.strays.Load())
}

// The caller's own deadline holds too: an API server that hung up is not kept waiting for.
func TestTheRequestsDeadlineHolds(t *testing.T) {
	s := mustLoad(t, tree("a.rego", "package commitgate.a\n\n"+bombs()["a search through everything"]+"\n"))
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	r, err := s.Decide(ctx, create(t, pod))
	if err != nil || r.Allowed() || !strings.Contains(messages(r.Denials), "cut off") {
		t.Errorf("%+v, %v", r, err)
	}
	mustEnd(t, s)
	done, cancel := context.WithCancel(context.Background())
	cancel()
	if r, err := mustLoad(t, tree("a.rego", "package commitgate.a\n\ndeny contains \"x\" if input.object.kind == \"Job\"\n")).Decide(done, create(t, pod)); err == nil && r.Allowed() {
		t.Error("a request that nobody waits for was allowed")
	}
}

// What a verdict depends on is the Set and the Input: asked again, in another process or in another order, it is the same to the byte.
func TestAVerdictCanBeReplayed(t *testing.T) {
	files := []string{
		"a.rego", latest,
		"b.rego", `package commitgate.clock

deny contains msg if {
	time.now_ns() == time.parse_rfc3339_ns(input.time)
	msg := sprintf("%v %v", [input.time, time.weekday(time.now_ns())])
}

warn contains sprintf("%v", [x]) if some x in {3, 1, 2, input.cluster, input.git.age}
`,
	}
	var texts []string
	for range 5 {
		s := mustLoad(t, tree(files...))
		for range 3 {
			texts = append(texts, verdictText(t, mustDecide(t, s, create(t, pod))))
		}
	}
	for _, text := range texts {
		if text != texts[0] {
			t.Fatalf("two verdicts on the same input:\n%s\n%s", texts[0], text)
		}
	}
	if !strings.Contains(texts[0], "2026-11-21T12:00:00Z Saturday") {
		t.Errorf("the clock of the input is not the clock of the policies: %s", texts[0])
	}
}

func TestARecordIsConfirmedByDecidingAgain(t *testing.T) {
	s := mustLoad(t, tree("a.rego", latest))
	in := create(t, pod)
	recorded := mustDecide(t, s, in).Recorded()
	for name, c := range map[string]struct {
		change func(*Recorded, *Input)
		files  []string
		want   string
	}{
		"the same":                        {func(*Recorded, *Input) {}, nil, ""},
		"without messages, as of Secrets": {func(r *Recorded, _ *Input) { r.Findings = bare(r.Findings) }, nil, ""},
		"another policy at that revision": {func(*Recorded, *Input) {}, []string{"a.rego", latest + "\n"}, "policies: recorded sha256:"},
		"another engine":                  {func(r *Recorded, _ *Input) { r.Engine = "opa 0.1.0" }, nil, "engine: recorded opa 0.1.0, now opa "},
		"findings that were left out":     {func(r *Recorded, _ *Input) { r.Findings = nil }, nil, "findings: recorded none, now no-latest: web uses latest; "},
		"another object": {func(_ *Recorded, in *Input) { in.Object = object(t, strings.Replace(pod, ":latest", ":1", 1)) }, nil,
			"findings: recorded no-latest: web uses latest; "},
		"another commit": {func(_ *Recorded, in *Input) { o := *in.Origin; o.Signatures = nil; in.Origin = &o }, nil, "now no-latest: web uses latest; commitgate.images/warn: unsigned"},
	} {
		t.Run(name, func(t *testing.T) {
			rec, again, set := recorded, in, s
			c.change(&rec, &again)
			if c.files != nil {
				set = mustLoad(t, tree(c.files...))
			}
			got := strings.Join(rec.Differences(mustDecide(t, set, again).Recorded()), "; ")
			if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func bare(in []RecordedFinding) []RecordedFinding {
	out := slices.Clone(in)
	for i := range out {
		out[i].Msg = ""
	}
	return out
}
