package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/commitgate/commitgate/test/lab"
)

// reconfigure replaces a piece of the configuration file of a running gate.
func reconfigure(t *testing.T, l *lab.Lab, before, after string) {
	t.Helper()
	data, err := os.ReadFile(l.Gate.Config)
	check(t, err)
	text := strings.Replace(string(data), before, after, 1)
	if text == string(data) {
		t.Fatalf("the configuration does not hold %q", before)
	}
	next := l.Gate.Config + ".next"
	check(t, os.WriteFile(next, []byte(text), 0o600))
	check(t, os.Rename(next, l.Gate.Config)) // as a mounted ConfigMap changes: all at once
}

// logged waits until the gate's log holds some words, n times.
func logged(t *testing.T, l *lab.Lab, n int, words string) {
	t.Helper()
	check(t, l.Eventually(t.Context(), func(context.Context) error {
		data, err := os.ReadFile(l.Gate.Log())
		if got := strings.Count(string(data), words); err == nil && got < n {
			return fmt.Errorf("the log says %q %d times, want %d", words, got, n)
		}
		return err
	}))
}

// A configuration changes while the gate runs: what is right is taken without one request that is not answered as it should be, what is wrong changes
// nothing and is told.
func TestReload(t *testing.T) {
	ctx := t.Context()
	l := stage(t)
	try := func() error { // Carol, who may not
		_, err := l.Cluster.Kubectl(ctx, l.CarolConfig, "", "scale", "deployment", "cart", "--replicas=9", "--namespace=shop", "--dry-run=server")
		return err
	}
	refused(t, try(), cart)
	const taken, kept = "another configuration is gone by", "a changed configuration is not taken"

	reconfigure(t, l, "mode: Enforce", "mode: Warn")
	logged(t, l, 1, taken)
	check(t, try())
	column(t, l, "gate", "demo", "READY", "True")
	told(t, l, "default", "Gate/demo", "Warning Differs", "spec.mode") // the object in the cluster says Enforce

	reconfigure(t, l, "mode: Warn", "mode: Off")
	logged(t, l, 1, kept)
	check(t, try())
	told(t, l, "default", "Gate/demo", "Warning Invalid", "spec.mode")
	column(t, l, "gate", "demo", "READY", "False")

	reconfigure(t, l, "mode: Off", "mode: Enforce")
	logged(t, l, 2, taken)
	refused(t, try(), cart)
	column(t, l, "gate", "demo", "READY", "True")

	// Another window takes another tracker. Meanwhile Flux and Carol ask without a pause: each is answered, and rightly.
	asking, stop := context.WithCancel(ctx)
	var wrong []error
	var asked int
	var crowd sync.WaitGroup
	crowd.Go(func() {
		for asking.Err() == nil {
			if _, err := l.Flux.Sync(ctx); err != nil {
				wrong = append(wrong, err)
			}
			if err := try(); err == nil || !strings.Contains(err.Error(), "NotFromSyncAgent") {
				wrong = append(wrong, fmt.Errorf("Carol was answered: %v", err))
			}
			asked++
		}
	})
	for i, window := range []string{"7m", "8m", "9m"} {
		if i == 0 {
			reconfigure(t, l, "  mode: Enforce", "  mode: Enforce\n  window: 7m")
		} else { // the whole line: a key may hold these two letters
			reconfigure(t, l, "window: "+[]string{"", "7m", "8m"}[i]+"\n", "window: "+window+"\n")
		}
		logged(t, l, 3+i, taken)
	}
	stop()
	crowd.Wait()
	if len(wrong) > 0 || asked == 0 {
		t.Errorf("of %d rounds these went wrong: %v", asked, wrong)
	}
	publish(t, l, "cart:1.4.0", "cart:1.5.0") // the new tracker follows
	_, err := l.Flux.Sync(ctx)
	check(t, err)

	// Bob has signed what is the truth: a configuration that does not know him would have the gate believe nothing.
	data, err := os.ReadFile(l.Gate.Config)
	check(t, err)
	head, _, _ := strings.Cut(string(data), "\n---\n")
	reconfigure(t, l, head[strings.Index(head, "  - principal: bob"):], "\n")
	logged(t, l, 2, kept)
	told(t, l, "default", "Gate/demo", "Warning Invalid", "is refused (verify)")
	_, err = l.Flux.Sync(ctx)
	check(t, err)
	refused(t, try(), cart)
	sound(t, l)
}
