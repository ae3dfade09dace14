package lab

import (
	"testing"
	"time"

	"github.com/commitgate/commitgate/api/v1alpha1"
)

// The configuration that the demo shows must be one that the gate takes.
func TestConfigurationIsValid(t *testing.T) {
	l := &Lab{Dir: t.TempDir(), progress: func(string, string, time.Duration) {}}
	if err := l.startForge(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := l.writeConfig(t.Context()); err != nil {
		t.Fatal(err)
	}
	config, err := v1alpha1.Load(l.gateConfig())
	if err != nil {
		t.Fatal(err)
	}
	repository := config.Repository("infra")
	if repository == nil || repository.Spec.Anchor.Commit != string(l.Anchor) || len(repository.Spec.Signers) != 2 {
		t.Errorf("the repository is %+v", repository)
	}
	if repository.Spec.Interval.Duration != interval {
		t.Errorf("the interval is %s, want %s", repository.Spec.Interval.Duration, interval)
	}
}
