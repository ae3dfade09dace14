package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/watchdog"
)

// repairAfter is how long the registration must be amiss before it is put back: an uninstallation takes the gate's rights away in less.
const repairAfter = 10 * time.Second

// registrationOptions are the flags of serve about its own webhook configuration and policies.
type registrationOptions struct {
	path   string
	repair string
	lease  string
}

func (o *registrationOptions) flags(f *pflag.FlagSet) {
	f.StringVar(&o.path, "registration", "", "file or folder with the gate's own webhook configuration and admission policies as they should be: a change of them in the cluster is noticed and recorded")
	f.StringVar(&o.repair, "repair", string(watchdog.Nothing), "what of --registration is put back when it was changed or deleted: none, webhook, or all, which includes the policies; needs create and update on it")
	f.StringVar(&o.lease, "repair-lease", "", "NAMESPACE/NAME of a Lease: of the replicas, only the one that holds it repairs")
}

// check tells what is wrong with the flags.
func (o *registrationOptions) check(noCluster bool) error {
	switch {
	case o.path == "" && o.repair != string(watchdog.Nothing):
		return usage("--repair needs --registration: what should it put back?")
	case o.path != "" && noCluster:
		return usage("--registration is watched in a cluster, and --no-cluster says that there is none")
	}
	return nil
}

// watchRegistration prepares the watchdog.
func (g *gate) watchRegistration(o serveOptions, types *account.Types) error {
	if o.registration.path == "" {
		return nil
	}
	cluster, err := restConfig(o.kubeconfig)
	if err != nil {
		return err
	}
	g.watchdog, err = watchdog.New(watchdog.Config{
		Cluster: cluster, Registration: o.registration.path, CABundle: o.caBundle(), Types: types,
		Repair: watchdog.Repair(o.registration.repair), After: repairAfter, Lease: o.registration.lease,
		Ready: g.ready, Observe: g.registrationChanged, Log: g.log, Now: time.Now,
	})
	if err != nil {
		return err
	}
	g.collectors = append(g.collectors, g.watchdog.Metrics()...)
	return nil
}

// caBundle returns the authority by which the API server is to know the gate; nil if the certificate comes from elsewhere.
func (o *serveOptions) caBundle() func() []byte {
	if o.certFile != "" {
		return nil
	}
	return func() []byte {
		pem, err := os.ReadFile(filepath.Join(o.authority(), "ca.crt"))
		if err != nil {
			return nil // whoever serves with it says so
		}
		return pem
	}
}

// authority is the folder of the gate's own authority.
func (o *serveOptions) authority() string {
	if o.caDir != "" {
		return o.caDir
	}
	return filepath.Join(o.data, "ca")
}

// ready tells whether the gate could answer a review from knowledge.
func (g *gate) ready() bool {
	for _, c := range g.checks(g.now().tracker) {
		if c.Missing() != "" {
			return false
		}
	}
	return true
}

// registrationChanged puts on record what became of the gate's own registration. A log that cannot take the record refuses every change already.
func (g *gate) registrationChanged(ctx context.Context, e watchdog.Event) {
	r := audit.Record{
		Type:    audit.TypeFinding,
		Outcome: &audit.Outcome{State: "RegistrationSound", Via: "watchdog"},
		Event: &audit.Event{Message: "the registration of the gate is as it should be again", Details: map[string]string{
			"kind": "RegistrationSound", "severity": "low", "object": e.Kind + " " + e.Name, "state": string(e.State),
		}},
	}
	set := func(kind, severity, message string) {
		r.Outcome.State, r.Event.Message = kind, message
		r.Event.Details["kind"], r.Event.Details["severity"] = kind, severity
	}
	switch {
	case e.Repaired:
		set("RegistrationRepaired", "medium", "the gate put its registration back")
	case e.State == watchdog.Changed || e.State == watchdog.Missing:
		set("RegistrationChanged", "high", "the registration of the gate is not as it should be")
	}
	if len(e.Fields) > 0 {
		r.Event.Details["fields"] = strings.Join(e.Fields, " ")
	}
	if _, err := g.audit.Append(ctx, r); err != nil && !errors.Is(err, context.Canceled) {
		g.log.Error("the finding cannot be recorded", "err", err)
	}
}
