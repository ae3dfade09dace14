// Package e2e holds the tests of the whole: the program that users run, in front of a real API server, with real agents and
// real keys. The package has no code of its own.
package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/commitgate/commitgate/test/cluster"
	"github.com/commitgate/commitgate/test/lab"
	"github.com/commitgate/commitgate/test/story"
)

func TestMain(m *testing.M) { os.Exit(cluster.Isolated(m.Run)) }

// start starts a lab, or skips where nobody has built what it needs; in CI that is a failure.
func start(t *testing.T) *lab.Lab {
	t.Helper()
	return startWith(t, lab.Config{})
}

// startWith is start with something special.
func startWith(t *testing.T, config lab.Config) *lab.Lab {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a control plane: not with -short")
	}
	progress := func(part, what string, took time.Duration) {
		t.Logf("%s: %s (%s)", part, what, took.Round(time.Millisecond))
	}
	config.Dir, config.Progress = t.TempDir(), progress
	l, err := lab.Start(t.Context(), config)
	if errors.Is(err, cluster.ErrNotBuilt) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	check(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			log, err := os.ReadFile(l.Gate.Log())
			t.Logf("the gate's log (%v):\n%s", err, log)
		}
		if err := l.Stop(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// stage is a lab in which Flux has applied what Git says and the controllers have made of it all that they make.
func stage(t *testing.T) *lab.Lab {
	t.Helper()
	l := start(t)
	_, err := l.Flux.Sync(t.Context())
	check(t, err)
	pods(t, l, "cart", 2)
	settled(t, l, 2)
	return l
}

// settled waits until no controller has anything more to write in the namespace shop, where the Deployment cart has n pods of its newest template. Whoever
// counts decisions or compares versions needs that: where a controller writes between the reading and the writing of a request, the API server asks once more.
func settled(t *testing.T, l *lab.Lab, n int) {
	t.Helper()
	check(t, l.Eventually(t.Context(), func(ctx context.Context) error {
		out, err := l.Cluster.Kubectl(ctx, l.AdminConfig, "", "get", "deployment/cart", "configmap/kube-root-ca.crt", "serviceaccount/default", "--namespace=shop", // the last two come with a namespace
			"--output=jsonpath={.items[0].metadata.generation} {.items[0].status.observedGeneration} {.items[0].status.replicas} {.items[0].status.updatedReplicas} {.items[0].status.unavailableReplicas}")
		if err != nil {
			return err
		}
		var generation, observed, replicas, updated, unavailable int
		if _, err := fmt.Sscan(out, &generation, &observed, &replicas, &updated, &unavailable); err != nil {
			return fmt.Errorf("the status of cart is not complete: %q: %w", out, err)
		}
		if observed != generation || replicas != n || updated != n || unavailable != n { // no kubelet makes a pod available
			return fmt.Errorf("generation, observed generation, replicas, updated and unavailable ones of cart: %s; want %d of each", out, n)
		}
		return nil
	}))
}

// unregistered deletes every webhook configuration, and waits until the API server asks no gate any more, which is some time later.
func unregistered(t *testing.T, l *lab.Lab) {
	t.Helper()
	_, err := guardian(t, l, "delete", "validatingwebhookconfiguration", "--all")
	check(t, err)
	check(t, l.Eventually(t.Context(), func(context.Context) error {
		_, err := guardian(t, l, "create", "configmap", "is-the-gate-gone", "--namespace=shop", "--dry-run=server")
		return err
	}))
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// get asks the cluster as an administrator and returns one value of an object.
func get(t *testing.T, l *lab.Lab, jsonpath string, object ...string) string {
	t.Helper()
	args := append([]string{"get", "--namespace=shop", "--output=jsonpath={" + jsonpath + "}"}, object...)
	out, err := l.Cluster.Kubectl(t.Context(), l.AdminConfig, "", args...)
	check(t, err)
	return out
}

// pods waits until an app has exactly n pods, which only its controllers can make and delete.
func pods(t *testing.T, l *lab.Lab, app string, n int) {
	t.Helper()
	err := l.Eventually(t.Context(), func(ctx context.Context) error {
		out, err := l.Cluster.Kubectl(ctx, l.AdminConfig, "", "get", "pods", "--namespace=shop", "--selector=app="+app, "--output=name")
		if got := len(strings.Fields(out)); err == nil && got != n {
			return errors.New("pods: " + out)
		}
		return err
	})
	check(t, err)
}

// refused checks that a request was refused by the gate, in these words, and in a way that makes no agent delete anything: Flux
// and kubectl take 409, 422 and the word "immutable" for a reason to delete and create again.
func refused(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("it went through")
	}
	text := err.Error()
	for _, word := range append(words, `admission webhook "`+lab.WebhookName+`" denied the request`) {
		if !strings.Contains(text, word) {
			t.Errorf("the refusal does not say %q:\n%s", word, text)
		}
	}
	for _, word := range []string{"immutable", "Conflict", "Invalid"} {
		if strings.Contains(text, word) {
			t.Errorf("the refusal says %q:\n%s", word, text)
		}
	}
}

// sound checks the gate's audit log with the gate's own tool.
func sound(t *testing.T, l *lab.Lab) {
	t.Helper()
	out, status, err := l.Gate.Run(t.Context(), "audit", "verify", l.Gate.AuditLog())
	check(t, err)
	if status != 0 {
		t.Errorf("commitgate audit verify: exit status %d\n%s", status, out)
	}
}

// The demo's story, as tests: each step must go as it is told there.
func TestStory(t *testing.T) {
	s, err := story.NewStage(start(t))
	check(t, err)
	for _, chapter := range story.Chapters() {
		t.Run(chapter.Title, func(t *testing.T) {
			for _, step := range chapter.Steps {
				t.Run(step.Who+" "+step.Does, func(t *testing.T) {
					answer, err := step.Play(t.Context(), s)
					if err != nil {
						t.Fatalf("want %s: %v\n%s", step.Told, err, strings.Join(answer, "\n"))
					}
				})
			}
		})
	}
}
