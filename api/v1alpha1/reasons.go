package v1alpha1

// Reason is a stable word for why a request was allowed or refused. The list is append-only: a word keeps its
// meaning for ever, because records and dashboards hold it.
type Reason string

// Reasons of an allow.
const (
	// ReasonFromGit: the sync agent applied exactly what a verified commit declares.
	ReasonFromGit Reason = "FromGit"
	// ReasonPruned: the sync agent deleted an object that Git no longer declares.
	ReasonPruned Reason = "Pruned"
	// ReasonRecreated: the sync agent deleted a declared object that Git says may be replaced (force, Replace, a hook).
	ReasonRecreated Reason = "Recreated"
	// ReasonUnchanged: the write changes nothing outside server-set fields and managedFields.
	ReasonUnchanged Reason = "Unchanged"
	// ReasonBookkeeping: the sync agent wrote what it keeps for itself: status and finalizers of its own objects, Events, leases, release Secrets; or
	// took away from an object the marks of what applied it before.
	ReasonBookkeeping Reason = "Bookkeeping"
	// ReasonController: a built-in controller did what its row in the table of controllers lets it do.
	ReasonController Reason = "Controller"
	// ReasonDerived: a built-in controller made or changed an object that follows from a declared one.
	ReasonDerived Reason = "Derived"
	// ReasonExempt: a configured exemption covers the whole request.
	ReasonExempt Reason = "Exempt"
	// ReasonGranted: an active break-glass grant covers the request.
	ReasonGranted Reason = "Granted"
	// ReasonGrantDocument: a grant with enough signatures was brought, revoked or deleted.
	ReasonGrantDocument Reason = "GrantDocument"
	// ReasonNotGuarded: under scope Declared, Git does not declare this object; RBAC decides.
	ReasonNotGuarded Reason = "NotGuarded"
	// ReasonOwnWork: the gate's own dry-run, status, lease or report.
	ReasonOwnWork Reason = "OwnWork"
	// ReasonConnectAllowed: a connect rule lets this user exec, attach, port-forward or proxy here.
	ReasonConnectAllowed Reason = "ConnectAllowed"
	// ReasonNotAChange: the request asks a question (access and token reviews) or coordinates (leases, Events); nothing that Git declares can change by it.
	ReasonNotAChange Reason = "NotAChange"
)

// Reasons of a denial: the gate looked, and the answer is no.
const (
	// ReasonNotFromSyncAgent: somebody who is not the sync agent asked for a change.
	ReasonNotFromSyncAgent Reason = "NotFromSyncAgent"
	// ReasonNotDeclared: the sync agent wrote an object that no verified commit declares.
	ReasonNotDeclared Reason = "NotDeclared"
	// ReasonFieldsDiffer: some field of the object has no reason in Git, or a declared one is missing.
	ReasonFieldsDiffer Reason = "FieldsDiffer"
	// ReasonStillDeclared: the sync agent or the garbage collector deleted an object that Git still declares, or one that would take such an object along.
	ReasonStillDeclared Reason = "StillDeclared"
	// ReasonWrongAgent: the object is declared, but another agent applies it.
	ReasonWrongAgent Reason = "WrongAgent"
	// ReasonWrongPod: the agent's token belongs to a pod that is not the agent's.
	ReasonWrongPod Reason = "WrongPod"
	// ReasonImpersonated: the request names a built-in controller, but carries no credential of one.
	ReasonImpersonated Reason = "Impersonated"
	// ReasonNotControllersBusiness: no row in the table of controllers lets this controller do this.
	ReasonNotControllersBusiness Reason = "NotControllersBusiness"
	// ReasonOwnerNotDeclared: a controller made an object whose chain of owners does not end in a declared one.
	ReasonOwnerNotDeclared Reason = "OwnerNotDeclared"
	// ReasonNotFromOwner: a controller made an object that does not follow from its owner's template, or scaled one beyond its autoscaler's bounds.
	ReasonNotFromOwner Reason = "NotFromOwner"
	// ReasonOwnIdentity: the gate's own identity asked for a write that the gate never makes.
	ReasonOwnIdentity Reason = "OwnIdentity"
	// ReasonAgentIdentityGuarded: the request leads to the agent's identity: its tokens, its pods, its service account.
	ReasonAgentIdentityGuarded Reason = "AgentIdentityGuarded"
	// ReasonConfigurationGuarded: the request changes a Gate or TrustedRepository, and neither a grant nor a commit of two people says so.
	ReasonConfigurationGuarded Reason = "ConfigurationGuarded"
	// ReasonConnectRefused: no connect rule lets this user exec, attach, port-forward or proxy here.
	ReasonConnectRefused Reason = "ConnectRefused"
	// ReasonSubresourceRefused: the subresource can change a declared object, and no row allows it.
	ReasonSubresourceRefused Reason = "SubresourceRefused"
	// ReasonPolicyDenied: a policy of the verified revision refused the request.
	ReasonPolicyDenied Reason = "PolicyDenied"
	// ReasonGrantRefused: a break-glass grant is not signed by enough people, out of bounds, or was changed.
	ReasonGrantRefused Reason = "GrantRefused"
	// ReasonMalformed: the AdmissionReview is not one that an API server sends.
	ReasonMalformed Reason = "Malformed"
)

// Reasons of a retry: the gate cannot know yet (429, with retryAfterSeconds).
const (
	// ReasonNotReady: no revision has been verified yet.
	ReasonNotReady Reason = "NotReady"
	// ReasonStale: the last successful fetch is older than the configured bound.
	ReasonStale Reason = "Stale"
	// ReasonMirrorBehind: the agent may be ahead of the mirror, and the mirror could not be brought up to date in time.
	ReasonMirrorBehind Reason = "MirrorBehind"
	// ReasonOwnerUnknown: the owner of a derived object, or the namespace that a controller cleans up, has not been seen yet.
	ReasonOwnerUnknown Reason = "OwnerUnknown"
	// ReasonInventoryBehind: a policy compares with objects of the cluster that have not been seen yet.
	ReasonInventoryBehind Reason = "InventoryBehind"
	// ReasonDryRunUnanswered: a field may be one that this cluster's admission adds, and the API server did not answer the dry-run that tells.
	ReasonDryRunUnanswered Reason = "DryRunUnanswered"
)

// Reasons of an error: something of ours broke; the request is refused with a 5xx.
const (
	// ReasonAuditUnavailable: the audit log cannot be written.
	ReasonAuditUnavailable Reason = "AuditUnavailable"
	// ReasonDeadline: the request's deadline passed before the gate could answer.
	ReasonDeadline Reason = "Deadline"
	// ReasonInternal: a defect of the gate.
	ReasonInternal Reason = "Internal"
)
