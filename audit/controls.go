package audit

import "slices"

// Control is a control of a framework that records are evidence for.
type Control struct {
	ID        string `json:"id"`
	Framework string `json:"framework"`
	Title     string `json:"title"`
	evidence  func(*Record) bool
}

// Controls is the control map: which records an auditor of a control wants to see. The numbers are taken from secondary
// texts and are to be confirmed with the auditor (docs/compliance.md).
func Controls() []Control { return slices.Clone(controls) }

// controls is made once: each record of an export asks for it.
var controls = controlMap()

func controlMap() []Control {
	change := func(r *Record) bool { return r.Type == TypeDecision && r.Decision != nil && !r.Decision.Noop }
	approved := func(r *Record) bool { return change(r) && r.Origin != nil && len(r.Origin.Signers) > 0 }
	emergency := func(r *Record) bool {
		return r.Emergency != nil || r.Type == TypeGrant || r.Type == TypeGrantEnd
	}
	refused := func(r *Record) bool { return change(r) && r.Decision.Outcome != "allow" }
	health := func(r *Record) bool {
		return slices.Contains([]Type{TypeStart, TypeStop, TypeHeartbeat, TypeRecovered, TypeShard, TypePruned, TypeClock, TypeConfigured}, r.Type)
	}
	rules := func(r *Record) bool {
		return slices.Contains([]Type{TypePolicies, TypeSigners, TypePublished, TypeRefused}, r.Type)
	}
	outcome := func(r *Record) bool { return r.Type == TypeOutcome || r.Type == TypeFinding }
	return []Control{
		{"CC8.1", "SOC 2", "Changes are authorised, tested, approved and implemented", anyOf(change, emergency, outcome, rules)},
		{"CC6.1", "SOC 2", "Logical access is restricted", anyOf(refused, emergency)},
		{"CC7.2", "SOC 2", "Systems are monitored for anomalies", anyOf(health, outcome)},
		{"A.8.32", "ISO 27001:2022", "Change management", anyOf(change, emergency, outcome, rules)},
		{"A.8.15", "ISO 27001:2022", "Logging", anyOf(health)},
		{"A.8.17", "ISO 27001:2022", "Clock synchronization", func(r *Record) bool { return r.Type == TypeClock }},
		{"A.5.3", "ISO 27001:2022", "Segregation of duties", approved},
		{"CM-3", "NIST SP 800-53r5", "Configuration change control", anyOf(change, emergency, outcome)},
		{"CM-5", "NIST SP 800-53r5", "Access restrictions for change", anyOf(refused, emergency)},
		{"CM-14", "NIST SP 800-53r5", "Signed components", approved},
		{"AU-5", "NIST SP 800-53r5", "Response to audit logging process failures", anyOf(health)},
		{"6.5.1", "PCI DSS 4.0.1", "Changes to system components are managed", anyOf(change, emergency, outcome)},
		{"10.2.1", "PCI DSS 4.0.1", "Audit logs are enabled and active", anyOf(health, refused)},
	}
}

func anyOf(tests ...func(*Record) bool) func(*Record) bool {
	return func(r *Record) bool {
		return slices.ContainsFunc(tests, func(test func(*Record) bool) bool { return test(r) })
	}
}

// Controls lists the ids of the controls that r is evidence for: those of the control map, and those that policies named.
func (r *Record) Controls() []string {
	var ids []string
	for _, c := range controls {
		if c.evidence(r) {
			ids = append(ids, c.ID)
		}
	}
	if r.Decision != nil {
		for _, v := range r.Decision.Violations {
			for _, id := range v.Controls {
				if !slices.Contains(ids, id) {
					ids = append(ids, id)
				}
			}
		}
	}
	return ids
}
