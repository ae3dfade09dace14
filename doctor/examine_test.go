package doctor

import (
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/commitgate/commitgate/status"
	"github.com/commitgate/commitgate/watchdog"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// well is what a replica says that nothing is wrong with.
func well() *status.Report {
	ago := func(d time.Duration) *time.Time { t := noon.Add(-d); return &t }
	return &status.Report{
		Replica: "commitgate-0", Started: noon.Add(-48 * time.Hour), Now: noon, Ready: true,
		Agents: []status.Agent{{Name: "flux", Users: []string{"system:serviceaccount:flux-system:kustomize-controller"}, Seen: ago(time.Minute)}},
		Repositories: []status.Repository{{
			Name: "infra", Branch: "main", Commit: "abcdef1111111111111111111111111111111111", Signers: []string{"alice@example.org"}, Heard: ago(time.Minute), IntervalSeconds: 30,
		}},
		Audit: status.Audit{Records: 7, FreeBytes: 50 << 30, TotalBytes: 100 << 30},
		Registration: &watchdog.Status{Looked: noon, Objects: []watchdog.Object{
			{Kind: "ValidatingWebhookConfiguration", Name: "commitgate", State: watchdog.Sound},
		}},
		Certificates: []status.Certificate{{Name: "serving", Ends: noon.Add(40 * time.Hour)}, {Name: "authority", Ends: noon.Add(900 * 24 * time.Hour)}},
	}
}

// Each thing that can be wrong with a replica is found, by itself, with what to do.
func TestWhatAReplicaSays(t *testing.T) {
	tests := map[string]struct {
		change func(r *status.Report)
		state  State
		what   string
	}{
		"nothing is wrong": {func(*status.Report) {}, OK, ""},
		"it is not ready": {func(r *status.Report) {
			r.Ready, r.Checks = false, []status.Check{{Name: "cluster", Missing: "not listed"}}
		}, Broken, "cluster: not listed"},
		"a changed configuration is wrong": {func(r *status.Report) { r.Invalid = "spec.mode: Off" }, Broken, "not taken, and the configuration before is gone by: spec.mode: Off"},
		"the Git host is away":             {func(r *status.Report) { r.Repositories[0].FetchError = "connection refused" }, Broken, "connection refused"},
		"the Git host was not asked":       {func(r *status.Report) { *r.Repositories[0].Heard = noon.Add(-time.Hour) }, Warning, "1h0m0s ago"},
		"a long interval is no silence": {func(r *status.Report) {
			*r.Repositories[0].Heard, r.Repositories[0].IntervalSeconds = noon.Add(-time.Hour), 3600
		}, OK, ""},
		"a commit is refused":     {func(r *status.Report) { r.Repositories[0].Refused = "1234567, verify: unsigned" }, Broken, "unsigned"},
		"nothing is verified":     {func(r *status.Report) { r.Repositories[0].Commit = "" }, Broken, "nothing has been verified"},
		"charts from the network": {func(r *status.Report) { r.Unfollowed = 2 }, Warning, "2 things"},
		"the webhook was opened": {func(r *status.Report) {
			r.Registration.Objects[0].State, r.Registration.Objects[0].Fields = watchdog.Changed, []string{"webhooks[0].failurePolicy"}
		}, Broken, "failurePolicy"},
		"the webhook cannot be read": {func(r *status.Report) { r.Registration.Objects[0].State = watchdog.Unknown }, Unknown, "ValidatingWebhookConfiguration commitgate"},
		"nobody watches the webhook": {func(r *status.Report) { r.Registration = nil }, Warning, "nobody watches"},
		"the audit log is broken":    {func(r *status.Report) { r.Audit.Error = "input/output error" }, Broken, "input/output error"},
		"the disk is full":           {func(r *status.Report) { r.Audit.FreeBytes = 5 << 20 }, Broken, "5 MiB"},
		"the disk is nearly full":    {func(r *status.Report) { r.Audit.LowSpace = true }, Warning, "nearly full"},
		"the authority ends":         {func(r *status.Report) { r.Certificates[1].Ends = noon.Add(24 * time.Hour) }, Warning, "authority ends"},
		"the certificate ended":      {func(r *status.Report) { r.Certificates[0].Ends = noon }, Broken, "serving ended"},
		"the agent went silent":      {func(r *status.Report) { *r.Agents[0].Seen = noon.Add(-3 * time.Hour) }, Warning, "nothing for 3h"},
		"the agent has another name": {func(r *status.Report) { r.Agents[0].Seen = nil }, Warning, "has not asked for anything"},
		"an agent is to act as a stranger": {func(r *status.Report) {
			r.Unlisted = []string{"infra:shop.yaml:2: Kustomization teams/shop acts as system:serviceaccount:teams:deployer, whom agent flux does not list. Next: add the user to impersonates"}
		}, Warning, "infra:shop.yaml:2: Kustomization teams/shop acts as"},
		"a young replica is not blamed":   {func(r *status.Report) { r.Agents[0].Seen, r.Started = nil, noon.Add(-time.Minute) }, OK, ""},
		"an exemption ended":              {func(r *status.Report) { r.Ending = []status.Exemption{{Name: "migration", Expires: noon, Ended: true}} }, Warning, "migration ended"},
		"a grant is open":                 {func(r *status.Report) { r.Grants = []status.Grant{{Name: "inc-7", State: "Active", Expires: noon}} }, Warning, "inc-7 is open"},
		"a grant that is over is no news": {func(r *status.Report) { r.Grants = []status.Grant{{Name: "inc-7", State: "Expired", Expires: noon}} }, OK, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := well()
			tt.change(r)
			f := new(findings)
			for _, c := range reportChecks() {
				c.ask(r, f)
			}
			if worst := Worst(f.list); worst != tt.state {
				t.Errorf("%s, want %s: %+v", worst, tt.state, f.list)
			}
			for _, found := range f.list {
				if found.State == OK {
					continue
				}
				if !strings.Contains(found.What, tt.what) || found.Do == "" {
					t.Errorf("%+v, want %q, with what to do", found, tt.what)
				}
			}
		})
	}
}

func TestWeakenedWebhookIsNamed(t *testing.T) {
	good := func() *admissionv1.ValidatingWebhook {
		return &admissionv1.ValidatingWebhook{Name: "gate.commitgate.dev", Rules: []admissionv1.RuleWithOperations{{
			Operations: []admissionv1.OperationType{"*"}, Rule: admissionv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*/*"}},
		}}}
	}
	ignore, exact := admissionv1.Ignore, admissionv1.Exact
	tests := map[string]struct {
		change func(w *admissionv1.ValidatingWebhook)
		state  State
	}{
		"as installed":    {func(*admissionv1.ValidatingWebhook) {}, OK},
		"open while down": {func(w *admissionv1.ValidatingWebhook) { w.FailurePolicy = &ignore }, Warning},
		"other versions":  {func(w *admissionv1.ValidatingWebhook) { w.MatchPolicy = &exact }, Broken},
		"no subresources": {func(w *admissionv1.ValidatingWebhook) { w.Rules[0].Resources = []string{"*"} }, Broken},
		"no rules":        {func(w *admissionv1.ValidatingWebhook) { w.Rules = nil }, Broken},
		"a namespace let off": {func(w *admissionv1.ValidatingWebhook) {
			w.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
		}, Broken},
		"objects let off": {func(w *admissionv1.ValidatingWebhook) {
			w.ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
		}, Broken},
		"a condition of others": {func(w *admissionv1.ValidatingWebhook) {
			w.MatchConditions = []admissionv1.MatchCondition{{Name: "mine", Expression: "false"}}
		}, Broken},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w, f := good(), new(findings)
			tt.change(w)
			weakened(f, w)
			if worst := Worst(f.list); worst != tt.state {
				t.Errorf("%s, want %s: %+v", worst, tt.state, f.list)
			}
		})
	}
}
