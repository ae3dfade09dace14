package main

import (
	"slices"
	"strings"

	"github.com/commitgate/commitgate/status"
	"github.com/commitgate/commitgate/watchdog"
)

// What the gate's features are about.
const (
	hooks    = "validatingwebhookconfigurations"
	policies = "validatingadmissionpolicies"
	bindings = "validatingadmissionpolicybindings"

	admissionGroup = "admissionregistration.k8s.io"
	leaseGroup     = "coordination.k8s.io"
	ownGroup       = "commitgate.dev"
	reportGroup    = "openreports.io"
)

// needs are the rights that what is configured takes, beside reading what owns what. Without a cluster there are none.
func (g *gate) needs() []status.Need {
	o := g.options
	if o.noCluster {
		return []status.Need{}
	}
	out := []status.Need{}
	spec := &g.now().cfg.Gate.Spec
	if namespace, ok := spec.OwnNamespace(); ok && spec.BreakGlass != nil {
		out = append(out, leases(status.FeatureGrants, namespace+"/commitgate-grants")...)
	}
	if g.certs.bundle != nil {
		out = append(out, status.Need{Feature: status.FeatureAuthority, Verbs: []string{"get"}, Group: admissionGroup, Resource: hooks, Name: o.webhookName})
	}
	if o.fromCluster {
		for _, resource := range []string{"gates", "trustedrepositories"} {
			out = append(out, status.Need{Feature: status.FeatureConfiguration, Verbs: []string{"list", "watch"}, Group: ownGroup, Resource: resource})
		}
	}
	if g.showing != nil {
		out = append(out, g.showing.needs(o.audit.namespace)...)
	}
	if g.scan != nil {
		out = append(out, status.Need{Feature: status.FeatureScan, Verbs: []string{"list"}, Group: "*", Resource: "*"})
		for _, resource := range []string{"reports", "clusterreports"} {
			out = append(out, status.Need{Feature: status.FeatureScan, Verbs: []string{"create", "patch", "delete"}, Group: reportGroup, Resource: resource})
		}
		out = append(out, leases(status.FeatureScan, o.scanLease)...)
	}
	if g.watchdog != nil {
		out = append(out, g.registrationNeeds()...)
	}
	if g.inventory != nil {
		for _, k := range g.policyKinds() {
			out = append(out, status.Need{Feature: status.FeaturePolicies, Verbs: []string{"list", "watch"}, Group: k.Group, Kind: k.Kind})
		}
	}
	return append(out, g.dryRunNeeds()...)
}

// needs are those of who writes status and Events.
func (s *showing) needs(namespace string) []status.Need {
	out := []status.Need{{Feature: status.FeatureStatus, Verbs: []string{"create", "patch"}, Resource: "events"}}
	for _, resource := range []string{"gates", "grants", "trustedrepositories"} {
		out = append(out, status.Need{Feature: status.FeatureStatus, Verbs: []string{"patch"}, Group: ownGroup, Resource: resource, Subresource: "status"})
	}
	return append(out, leases(status.FeatureStatus, namespace+"/"+statusLease)...)
}

// registrationNeeds are those of the watchdog, and of what it puts back.
func (g *gate) registrationNeeds() []status.Need {
	var out []status.Need
	for _, resource := range []string{hooks, policies, bindings} {
		out = append(out, status.Need{Feature: status.FeatureRegistration, Verbs: []string{"list", "watch"}, Group: admissionGroup, Resource: resource})
	}
	now := g.watchdog.Status()
	if now.Repair == watchdog.Nothing {
		return out
	}
	created := map[string]bool{}
	for _, object := range now.Objects {
		resource, ok := map[string]string{"ValidatingWebhookConfiguration": hooks, "ValidatingAdmissionPolicy": policies, "ValidatingAdmissionPolicyBinding": bindings}[object.Kind]
		if !ok || now.Repair == watchdog.Webhook && resource != hooks {
			continue
		}
		if !created[resource] {
			created[resource] = true
			out = append(out, status.Need{Feature: status.FeatureRepair, Verbs: []string{"create"}, Group: admissionGroup, Resource: resource})
		}
		out = append(out, status.Need{Feature: status.FeatureRepair, Verbs: []string{"update"}, Group: admissionGroup, Resource: resource, Name: object.Name})
	}
	return append(out, leases(status.FeatureRepair, g.options.registration.lease)...)
}

// dryRunNeeds are those of asking the API server about what Git declares now and the configuration says of.
func (g *gate) dryRunNeeds() []status.Need {
	current := g.tracker.Truth().Current
	if current == nil || len(g.now().cfg.Gate.Spec.DryRuns) == 0 {
		return nil
	}
	judge := g.now().judge
	var out []status.Need
	seen := map[[2]string]bool{}
	for e := range current.All() {
		kind := [2]string{e.Key.Group, e.Key.Kind}
		if seen[kind] || !judge.DryRun(e.Key) {
			continue
		}
		seen[kind] = true
		out = append(out, status.Need{Feature: status.FeatureDryRuns, Verbs: []string{"create", "patch"}, Group: kind[0], Kind: kind[1]})
	}
	slices.SortFunc(out, func(a, b status.Need) int { return strings.Compare(a.Kind+"."+a.Group, b.Kind+"."+b.Group) })
	return out
}

// leases are the rights that holding a Lease (NAMESPACE/NAME) takes; none without one.
func leases(feature, lease string) []status.Need {
	namespace, name, ok := strings.Cut(lease, "/")
	if !ok {
		return nil
	}
	return []status.Need{
		{Feature: feature, Verbs: []string{"create"}, Group: leaseGroup, Resource: "leases", Namespace: namespace},
		{Feature: feature, Verbs: []string{"get", "update"}, Group: leaseGroup, Resource: "leases", Namespace: namespace, Name: name},
	}
}
