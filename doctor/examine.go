package doctor

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/client-go/rest"

	"github.com/commitgate/commitgate/status"
	"github.com/commitgate/commitgate/watchdog"
)

const (
	// heardAgo is how long a repository may be silent: what the alert takes, too.
	heardAgo = 10 * time.Minute
	// skew is how far clocks may be apart: grants and certificates are judged by them.
	skew = 30 * time.Second
	// quiet is how long a sync agent may ask for nothing before that is strange: longer than the usual interval of its reconciliation.
	quiet = time.Hour
	// soon is how near the end of a certificate is worth a word.
	soon = 30 * 24 * time.Hour
	// lowDisk is what the alert on the audit log's disk takes, too.
	lowDisk = 1 << 30
)

// Examine asks every question, in the order in which one depends on another.
func (d *Doctor) Examine(ctx context.Context) []Finding {
	var out []Finding
	ask := func(check string, question func(*findings)) {
		f := &findings{check: check}
		question(f)
		out = slices.Concat(out, f.list)
	}
	var replicas []Replica
	ask("replicas", func(f *findings) { replicas = d.examineReplicas(ctx, f) })
	if d.client != nil {
		ask("API server", func(f *findings) { d.apiServer(ctx, f) })
		ask("custom resources", func(f *findings) { d.customResources(ctx, f) })
		var hook *admissionv1.ValidatingWebhookConfiguration
		ask("webhook configuration", func(f *findings) { hook = d.webhookConfiguration(ctx, f) })
		if hook != nil {
			ask("service", func(f *findings) { d.service(ctx, hook, f) })
			ask("trust", func(f *findings) { d.trust(hook, replicas, f) })
		}
		ask("policies", func(f *findings) { d.policies(ctx, f) })
		ask("rights of the gate", func(f *findings) { d.rights(ctx, replicas, f) })
		ask("rotation of the authority", func(f *findings) { d.rotation(ctx, replicas, f) })
		ask("clocks", func(f *findings) { d.clocks(ctx, replicas, f) })
	}
	for _, r := range replicas {
		if r.Report == nil {
			continue
		}
		for _, c := range reportChecks() {
			ask(r.Name+": "+c.name, func(f *findings) { c.ask(r.Report, f) })
		}
	}
	return out
}

// reportCheck is a question to what a replica says of itself.
type reportCheck struct {
	name string
	ask  func(*status.Report, *findings)
}

func reportChecks() []reportCheck {
	return []reportCheck{
		{"ready", readiness}, {"configuration", configuration}, {"repositories", repositories}, {"registration", registration}, {"audit log", auditLog},
		{"certificates", certificates}, {"agents", agents}, {"exemptions and grants", emergencies},
	}
}

func (d *Doctor) examineReplicas(ctx context.Context, f *findings) []Replica {
	replicas, err := d.Replicas(ctx)
	if err != nil {
		f.unknown("check the kubeconfig and --namespace", "the pods of the gate cannot be listed: %v", err)
		return nil
	}
	if len(replicas) == 0 {
		f.broken("is the gate installed in another namespace (--namespace)? docs/install.md", "no pod of the gate in namespace %s", d.cfg.Namespace)
	}
	modes := map[string]bool{}
	versions := map[string]bool{}
	for _, r := range replicas {
		switch {
		case r.Report != nil:
			modes[string(r.Report.Mode)], versions[r.Report.Version] = true, true
			f.ok("%s runs %s in mode %s", r.Name, r.Report.Version, r.Report.Mode)
		case r.Phase != "" && !strings.HasPrefix(r.Phase, "Running"):
			f.broken("kubectl --namespace "+d.cfg.Namespace+" describe pod "+r.Name, "%s does not run: %s", r.Name, r.Phase)
		default:
			f.unknown("ask as a member of commitgate:admins (--as-group), or give its probe address (--probe)", "%s does not say how it is: %s", r.Name, r.Error)
		}
	}
	if len(modes) > 1 || len(versions) > 1 {
		f.warn("wait for the rollout to end: kubectl --namespace "+d.cfg.Namespace+" rollout status statefulset/commitgate", "the replicas differ in mode or version")
	}
	return replicas
}

// clocks compares this machine, the API server and the replicas.
func (d *Doctor) clocks(ctx context.Context, replicas []Replica, f *findings) {
	server, err := d.serverTime(ctx)
	if err != nil {
		f.unknown("", "the API server does not say what time it is: %v", err)
		return
	}
	for _, r := range replicas {
		if r.Report == nil {
			continue
		}
		if apart := r.Report.Now.Sub(server); apart.Abs() > skew {
			f.broken("mend the clock of its node (NTP): grants and certificates are judged by it", "%s is %s away from the API server", r.Name, apart.Round(time.Second))
		}
	}
	if len(f.list) == 0 {
		f.ok("no replica is more than %s away from the API server", skew)
	}
}

// serverTime is the API server's clock, to the second.
func (d *Doctor) serverTime(ctx context.Context) (time.Time, error) {
	cluster := rest.CopyConfig(d.cfg.Cluster)
	cluster.Timeout = askTimeout
	client, err := rest.HTTPClientFor(cluster)
	if err != nil {
		return time.Time{}, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.client.RESTClient().Get().AbsPath("/version").URL().String(), nil)
	if err != nil {
		return time.Time{}, err
	}
	response, err := client.Do(request)
	if err != nil {
		return time.Time{}, err
	}
	defer response.Body.Close()
	return http.ParseTime(response.Header.Get("Date"))
}

func readiness(r *status.Report, f *findings) {
	if r.Ready {
		f.ok("since %s", r.Started.Format(time.DateTime))
		return
	}
	for _, c := range r.Checks {
		if c.Missing != "" {
			f.broken("docs/runbooks.md, CommitgateReplicaNotReady", "%s: %s", c.Name, c.Missing)
		}
	}
}

func configuration(r *status.Report, f *findings) {
	if r.Invalid == "" {
		f.ok("it goes by what it was given: gate %s", r.Name)
		return
	}
	f.broken("docs/runbooks.md, CommitgateConfigurationInvalid", "a change is not taken, and the configuration before is gone by: %s", r.Invalid)
}

func repositories(r *status.Report, f *findings) {
	for _, x := range r.Repositories {
		switch {
		case x.Refused != "":
			f.broken("docs/runbooks.md, CommitgateRevisionRefused", "%s: the tip of %s is not accepted: %s", x.Name, x.Branch, x.Refused)
		case x.FetchError != "":
			f.broken("docs/runbooks.md, CommitgateRepositoryUnheard", "%s: cannot be fetched: %s", x.Name, x.FetchError)
		case x.Commit == "":
			f.broken("docs/runbooks.md, CommitgateReplicaNotReady", "%s: nothing has been verified yet", x.Name)
		case x.Heard != nil && r.Now.Sub(*x.Heard) > max(heardAgo, 2*time.Duration(x.IntervalSeconds)*time.Second):
			f.warn("docs/runbooks.md, CommitgateRepositoryUnheard", "%s: last heard of %s ago", x.Name, r.Now.Sub(*x.Heard).Round(time.Second))
		default:
			f.ok("%s: %s @ %s, signed by %s", x.Name, x.Branch, x.Commit.Short(), orNobody(x.Signers))
		}
	}
	if r.Unfollowed > 0 {
		f.warn("commitgate render --config … names them", "%d things that an agent is asked for cannot be rendered: what they bring is refused", r.Unfollowed)
	}
}

func orNobody(signers []string) string {
	if len(signers) == 0 {
		return "nobody (it is the anchor)"
	}
	return strings.Join(signers, ", ")
}

func registration(r *status.Report, f *findings) {
	s := r.Registration
	switch {
	case s == nil:
		f.warn("set registration.watch", "nobody watches whether the webhook configuration is changed or deleted")
	case s.Error != "":
		f.broken("serve --registration names files that cannot be read", "%s", s.Error)
	case s.Looked.IsZero():
		f.unknown("", "the replica has not looked yet")
	}
	if s == nil {
		return
	}
	for _, o := range s.Objects {
		switch o.State {
		case watchdog.Sound:
		case watchdog.Unknown:
			f.unknown("the ClusterRole commitgate must let it read "+o.Kind, "%s %s: %s", o.Kind, o.Name, o.Error)
		default:
			f.broken(putBack, "%s %s is %s since %s: %s", o.Kind, o.Name, o.State, o.Since.Format(time.DateTime), strings.Join(o.Fields, " "))
		}
	}
	if len(f.list) == 0 {
		f.ok("%d objects are as they were installed", len(s.Objects))
	}
}

func auditLog(r *status.Report, f *findings) {
	a := r.Audit
	switch {
	case a.Error != "":
		f.broken("docs/runbooks.md, CommitgateAuditLogBroken", "it cannot be written, so every change is refused: %s", a.Error)
	case a.TotalBytes == 0:
		f.ok("%d records; its disk was not measured yet", a.Records)
	case a.FreeBytes < lowDisk:
		f.broken("docs/runbooks.md, CommitgateAuditDiskLow", "%d MiB are left on its disk", a.FreeBytes>>20)
	case a.LowSpace:
		f.warn("docs/runbooks.md, CommitgateAuditDiskLow", "its disk is nearly full: %d of %d GiB are left", a.FreeBytes>>30, a.TotalBytes>>30)
	default:
		f.ok("%d records, %d GiB left", a.Records, a.FreeBytes>>30)
	}
}

func certificates(r *status.Report, f *findings) {
	for _, c := range r.Certificates {
		left := c.Ends.Sub(r.Now)
		near := soon
		if c.Name == "serving" {
			near = 6 * time.Hour // of the own authority: two days, renewed by itself
		}
		switch {
		case left <= 0:
			f.broken("docs/operate.md, Certificates", "%s ended %s", c.Name, c.Ends.Format(time.DateTime))
		case left < near:
			f.warn("docs/operate.md, Certificates", "%s ends %s", c.Name, c.Ends.Format(time.DateTime))
		default:
			f.ok("%s: until %s", c.Name, c.Ends.Format(time.DateOnly))
		}
	}
}

func agents(r *status.Report, f *findings) {
	for _, u := range r.Unlisted {
		what, do, _ := strings.Cut(u, " Next: ")
		f.warn(do, "%s", what)
	}
	for _, a := range r.Agents {
		switch {
		case a.Seen != nil && r.Now.Sub(*a.Seen) <= quiet:
			f.ok("%s asked for something %s ago", a.Name, r.Now.Sub(*a.Seen).Round(time.Second))
		case a.Seen != nil:
			f.warn("does it still run, and under these names: "+strings.Join(a.Users, ", ")+"?", "%s has asked for nothing for %s", a.Name, r.Now.Sub(*a.Seen).Round(time.Minute))
		case r.Now.Sub(r.Started) > quiet:
			f.warn("is it these users, exactly: "+strings.Join(a.Users, ", ")+"? commitgate audit log shows who asks", "%s has not asked for anything since %s", a.Name, r.Started.Format(time.DateTime))
		default:
			f.ok("%s has not asked for anything yet (the replica is young)", a.Name)
		}
	}
}

func emergencies(r *status.Report, f *findings) {
	for _, e := range r.Ending {
		if e.Ended {
			f.warn("take it out of the configuration, or renew it", "exemption %s ended %s", e.Name, e.Expires.Format(time.DateOnly))
		} else {
			f.warn("renew it, or put what it covers into Git", "exemption %s ends %s", e.Name, e.Expires.Format(time.DateOnly))
		}
	}
	for _, g := range r.Grants {
		if g.State == "Active" {
			f.warn("commitgate breakglass report, when it is over", "grant %s is open until %s (%d uses)", g.Name, g.Expires.Format(time.DateTime), g.Uses)
		}
	}
	if len(f.list) == 0 {
		f.ok("%s, none about to end; no grant is open", count(r.Exemptions, "exemption"))
	}
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
