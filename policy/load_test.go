package policy

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// Each of these would, in another engine, load without a word and then deny nothing.
func TestWhatWouldSilentlyAllowIsRefused(t *testing.T) {
	const lib = "package lib.names\nok(x) if x == \"a\"\n"
	for name, c := range map[string]struct {
		files []string
		want  string // file:line: and part of the message
	}{
		"a deny without contains is true, and no message": {
			[]string{"a.rego", "package commitgate\n\ndeny if input.object.kind == \"Pod\"\n"},
			"a.rego:3: deny is no set of messages",
		},
		"a deny that is one string": {
			[]string{"a.rego", "package main\n\ndeny := \"no\"\n"}, "a.rego:3: deny is no set of messages",
		},
		"a deny that is an object": {
			[]string{"a.rego", "package main\n\ndeny[msg] := true if msg := \"no\"\n"}, "a.rego:3: deny is no set",
		},
		"a deny that is a boolean in the old syntax": {
			[]string{"a.rego", "package main\n\ndeny {\n  input.kind == \"Pod\"\n}\n"}, "a.rego:3: deny is no set",
		},
		"a deny that is a function": {
			[]string{"a.rego", "package commitgate\n\ndeny(x) if x\n"}, "a.rego:3: deny is a function",
		},
		"a deny with a default": {
			[]string{"a.rego", "package main\n\ndefault deny := false\n"}, "a.rego:3: default deny",
		},
		"a misspelt deny": {
			[]string{"a.rego", "package commitgate.images\n\ndenny contains \"x\" if input.object\n"},
			"a.rego:1: package commitgate.images has no rule deny or warn (it has denny)",
		},
		"an allow that nobody asks": {
			[]string{"a.rego", "package commitgate\n\ndefault allow := false\ndeny contains \"x\" if not allow\n"},
			"a.rego:3: allow is not asked",
		},
		"a folder without rules": {
			[]string{"readme.txt", "x"}, "holds no rule",
		},
		"a folder with tests only": {
			[]string{"a_test.rego", "package commitgate\n\ntest_x if true\n"}, "holds no rule",
		},
		"a field that our document does not have": {
			[]string{"a.rego", "package commitgate\n\ndeny contains \"x\" if input.git.signer == \"ada\"\n"},
			"a.rego:3: undefined ref: input.git.signer",
		},
		"a document that nobody brings": {
			[]string{"a.rego", "package main\n\ndeny contains \"x\" if input.spec.image in data.forbidden\n"},
			"a.rego:3: data.forbidden is not there",
		},
		"a setting that the data file does not have": {
			[]string{"data.yaml", "limits: {replicas: 5}\n", "a.rego", "package main\n\ndeny contains \"x\" if input.spec.replicas > data.limits.replcias\n"},
			"a.rego:3: data.limits.replcias is not there",
		},
		"a rule that the helper package does not have": {
			[]string{"a.rego", "package main\nimport data.lib.names\n\ndeny contains \"x\" if names.bad\n", "lib.rego", lib},
			"a.rego:4: data.lib.names.bad is not there",
		},
		"the source of a Gatekeeper template without the template": {
			[]string{"src.rego", "package k8slabels\n\nviolation[{\"msg\": \"x\"}] {\n  input.review.object.kind == \"Pod\"\n}\n"},
			"src.rego:4: package k8slabels reads input.review",
		},
		"a rule that takes its input for a review and for an object": {
			[]string{"a.rego", "package main\n\ndeny contains \"x\" if {\n  input.request.operation == \"CREATE\"\n  input.spec.x\n}\n"},
			"a.rego:5: package main reads both",
		},
		"the network": {
			[]string{"a.rego", "package main\n\ndeny contains \"x\" if http.send({\"url\": \"http://x\", \"method\": \"get\"}).status_code != 200\n"},
			"a.rego:3: undefined function http.send: not available to policies",
		},
		"randomness": {
			[]string{"a.rego", "package main\n\ndeny contains \"x\" if rand.intn(\"x\", 2) == 0\n"}, "undefined function rand.intn: not available",
		},
		"a template that a suite may run, and nobody could replay": {
			[]string{"t.yaml", gatekeeperTemplate(`violation[{"msg": "x"}] { opa.runtime(); bits.lsh(1, 40) }`),
				"c.yaml", "{apiVersion: constraints.gatekeeper.sh/v1beta1, kind: T, metadata: {name: c}}"},
			"t.yaml:11: undefined function bits.lsh: not available to policies: a decision must be the same when it is replayed (no network, no clock, no randomness, bounded memory)\n" +
				"t.yaml:11: undefined function opa.runtime",
		},
		"a rule hidden by a data file": {
			[]string{"main/data.yaml", "deny: []\n", "a.rego", "package main\n\ndeny contains \"x\" if input.kind\n"}, "a.rego",
		},
		"data files that disagree": {
			[]string{"data.yaml", "a: 1\n", "data.json", "{\"a\": 2}", "a.rego", "package main\ndeny contains \"x\" if data.a\n"}, "also defined",
		},
		"a rule that does not parse": {
			[]string{"a.rego", "package main\n\ndeny contains msg if {\n"}, "a.rego:4: unexpected eof",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := LoadUnverified(context.Background(), tree(c.files...), ".", true)
			var es Errors
			if !errors.As(err, &es) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestAllProblemsAreToldAtOnceInOrder(t *testing.T) {
	_, err := LoadUnverified(context.Background(), tree(
		"b.rego", "package b\n\ndeny := 1\n", "a.rego", "package a\n\ndeny := 1\ndeny_x if true\n",
	), ".", false)
	var es Errors
	if !errors.As(err, &es) || len(es) != 3 || es[0].File != "a.rego" || es[0].Line != 3 || es[1].Line != 4 || es[2].File != "b.rego" {
		t.Errorf("got %v", err)
	}
}

func TestNoSourcesIsNoSet(t *testing.T) {
	s, err := Load(context.Background())
	if s != nil || err != nil {
		t.Fatalf("got %v, %v", s, err)
	}
	r, err := s.Decide(context.Background(), Input{Time: noon})
	if !errors.Is(err, ErrNoSet) || r.Allowed() {
		t.Errorf("a nil Set allowed: %+v, %v", r, err)
	}
}

func TestTheZeroResultIsADenial(t *testing.T) {
	if (Result{}).Allowed() {
		t.Error("the zero value allows")
	}
}

func TestTheDigestNamesWhatDecidesAndNothingElse(t *testing.T) {
	base := []string{"p/a.rego", "package main\ndeny contains \"x\" if input.kind == data.kind\n", "p/data.yaml", "kind: Pod\n"}
	digest := func(more ...string) string {
		s, err := LoadUnverified(context.Background(), tree(append(append([]string{}, base...), more...)...), "p", true)
		if err != nil {
			t.Fatal(err)
		}
		return s.Digest()
	}
	first := digest()
	if got := digest("p/a_test.rego", "package main_test\ntest_x if true\n", "p/README.md", "x"); got != first {
		t.Error("a test changed the digest")
	}
	if got := digest("p/data.yaml", "kind: Job\n"); got == first {
		t.Error("another document has the same digest")
	}
	moved, err := LoadUnverified(context.Background(), tree("a.rego", base[1], "data.yaml", base[3]), ".", true)
	if err != nil || moved.Digest() != first {
		t.Errorf("a copy elsewhere has another digest: %v", err)
	}
}
