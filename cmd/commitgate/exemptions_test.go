package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/commitgate/commitgate/api/v1alpha1"
)

// Whoever reads the log learns of the end of an exemption twice: in time to renew it, and when refusals begin; not every minute.
func TestExemptionsAreToldOnce(t *testing.T) {
	end := time.Date(2026, 12, 24, 0, 0, 0, 0, time.UTC)
	expires := metav1.NewTime(end)
	exemptions := []v1alpha1.Exemption{{Name: "hpa", Reason: "scales"}, {Name: "migration", Reason: "until the move is done", Expires: &expires}}
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	told := map[string]string{}
	at := func(now time.Time) string {
		out.Reset()
		tellExemptions(exemptions, told, now, log)
		return out.String()
	}
	for _, step := range []struct {
		now  time.Time
		want string
	}{
		{end.Add(-v1alpha1.ExemptionNotice - time.Second), ""},
		{end.Add(-v1alpha1.ExemptionNotice), "about to end"},
		{end.Add(-time.Second), ""},
		{end, "has ended"},
		{end.Add(time.Hour), ""},
	} {
		line := at(step.now)
		if (line == "") != (step.want == "") || !strings.Contains(line, step.want) || step.want != "" && !strings.Contains(line, "exemption=migration") {
			t.Errorf("%s: have %q, want %q", step.now, line, step.want)
		}
	}
}
