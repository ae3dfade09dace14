// Package story is what the demo plays and the end-to-end tests prove: what the agents, the controllers and people ask of a cluster
// behind commitgate, and what they are told. It is written down once.
package story

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/commitgate/commitgate/test/cluster"
	"github.com/commitgate/commitgate/test/lab"
)

// Chapter is a part of the story.
type Chapter struct {
	Title string
	Steps []Step
}

// Step is one thing that somebody does.
type Step struct {
	Who, Does string
	Told      Verdict // how it must end
	// Play does it. An error means that it did not end as told; the answer is then what there is of it.
	Play func(context.Context, *Stage) (Answer, error)
}

// Verdict is how a step ends.
type Verdict string

// The verdicts.
const (
	Allowed Verdict = "allowed" // the API server did it
	Refused Verdict = "refused" // the gate said no
	Read    Verdict = "read"    // there was something to read
	Sound   Verdict = "sound"   // a verification found nothing wrong
	Caught  Verdict = "caught"  // a verification found what is wrong
)

// Answer is what came back, in the words of the gate, of the API server's audit log, or of commitgate's own tools.
type Answer []string

// Stage is where the story is played.
type Stage struct {
	*lab.Lab
	// events is how far the API server's audit log has been read.
	events int
}

// NewStage is the stage of a lab in which nothing has happened yet.
func NewStage(l *lab.Lab) (*Stage, error) {
	_, end, err := l.Cluster.Events(0)
	return &Stage{Lab: l, events: end}, err
}

// refusal is the gate's answer to somebody whom it refuses; each of the words must stand in it.
func refusal(err error, words ...string) (Answer, error) {
	if err == nil {
		return nil, errors.New("it went through")
	}
	text := err.Error()
	var kubectl *cluster.KubectlError
	if errors.As(err, &kubectl) {
		text = kubectl.Stderr
	}
	_, said, found := strings.Cut(text, `admission webhook "`+lab.WebhookName+`" denied the request: `)
	if !found {
		return nil, fmt.Errorf("refused, but not by the gate: %s", text)
	}
	var missing []string
	for _, word := range words {
		if !strings.Contains(said, word) {
			missing = append(missing, fmt.Sprintf("%q", word))
		}
	}
	var answer Answer
	for line := range strings.Lines(said) {
		line = strings.TrimSuffix(strings.TrimSpace(line), ";")                     // by which Flux divides errors
		if line != "" && !strings.HasPrefix(line, "You can run `kubectl replace") { // kubectl edit's own advice
			answer = append(answer, line)
		}
	}
	if len(missing) > 0 {
		return answer, fmt.Errorf("the refusal does not say %s", strings.Join(missing, ", "))
	}
	return answer, nil
}

// allowed reads in the API server's audit log what the gate said of the changes of one user since the last step: at least n of them.
func (s *Stage) allowed(ctx context.Context, user string, n int, say func(cluster.Event) (string, error)) (Answer, error) {
	var answer Answer
	err := s.Eventually(ctx, func(context.Context) error {
		events, end, err := s.Cluster.Events(s.events)
		if err != nil {
			return err
		}
		answer = nil
		for _, e := range events {
			if e.User.Username != user || e.DryRun() || e.Response.Code >= 300 || e.Annotations[lab.WebhookName+"/reason"] == "" {
				continue
			}
			line, err := say(e)
			if err != nil {
				return err
			}
			if line != "" {
				answer = append(answer, line)
			}
		}
		if len(answer) < n {
			return fmt.Errorf("the audit log has %d changes of %s, want %d", len(answer), user, n)
		}
		s.events = end
		return nil
	})
	return answer, err
}

// fromGit says which commit, file and signer stand behind a change. All of them must.
func fromGit(e cluster.Event) (string, error) {
	note := func(key string) string { return e.Annotations[lab.WebhookName+"/"+key] }
	commit, path, signer := note("commit"), note("path"), note("signer")
	if reason := note("reason"); reason == "Pruned" {
		return fmt.Sprintf("%-6s %-28s %s  %s", verb(e), object(e), short(note("revision")), reason), nil
	}
	if commit == "" || path == "" || signer == "" {
		return "", fmt.Errorf("%s %s: commit %q, path %q, signer %q in the audit log", e.Verb, object(e), commit, path, signer)
	}
	return fmt.Sprintf("%-6s %-28s %s  %s  signed by %s", verb(e), object(e), short(commit), path, signer), nil
}

func verb(e cluster.Event) string {
	if e.Verb == "patch" && e.Response.Code == 201 {
		return "create" // what a server-side apply does to an object that is not there
	}
	return e.Verb
}

func object(e cluster.Event) string {
	switch {
	case e.Object.Resource == "namespaces" || e.Object.Namespace == "":
		return e.Object.Resource + " " + e.Object.Name
	case e.Object.Name == "": // the API server makes the name: generateName
		return e.Object.Resource + " in " + e.Object.Namespace
	}
	return e.Object.Resource + " " + e.Object.Namespace + "/" + e.Object.Name
}

func short(commit string) string { return commit[:min(7, len(commit))] }
