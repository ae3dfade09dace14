package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// APIVersion is what every document of this group says.
const APIVersion = "commitgate.dev/v1alpha1"

// +kubebuilder:validation:Enum=Enforce;Warn;Audit

// Mode is what becomes of a verdict. It is applied once, after the verdict.
type Mode string

// The modes.
const (
	ModeEnforce Mode = "Enforce" // a refusal refuses
	ModeWarn    Mode = "Warn"    // a refusal lets the request pass with a warning to the caller
	ModeAudit   Mode = "Audit"   // a refusal is recorded only
)

// +kubebuilder:validation:Enum=Everything;Declared

// Scope is what is guarded.
type Scope string

// The scopes.
const (
	ScopeEverything Scope = "Everything" // no change that is not from Git, declared or not
	ScopeDeclared   Scope = "Declared"   // what Git declares is guarded; the rest is left to RBAC
)

// +kubebuilder:validation:Enum=Flux;ArgoCD;Fleet;ConfigSync;Pipeline

// Preset names a sync agent whose ways are known.
type Preset string

// The presets.
const (
	PresetFlux       Preset = "Flux"       // kustomize-controller and helm-controller
	PresetArgoCD     Preset = "ArgoCD"     // application-controller
	PresetFleet      Preset = "Fleet"      // fleet-agent
	PresetConfigSync Preset = "ConfigSync" // reconciler
	PresetPipeline   Preset = "Pipeline"   // a CI runner with kubectl or helm
)

// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=trepo,categories=commitgate
// +kubebuilder:printcolumn:name=Ready,type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name=Verified,type=string,JSONPath=`.status.conditions[?(@.type=="Verified")].reason`
// +kubebuilder:printcolumn:name=Commit,type=string,JSONPath=`.status.commit`
// +kubebuilder:printcolumn:name=Signer,type=string,JSONPath=`.status.signer`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`

// TrustedRepository is a Git repository, its protected branch, its trust anchor and its signers.
type TrustedRepository struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              TrustedRepositorySpec `json:"spec"`
	// Status is written by the gate, and never read by it.
	Status TrustedRepositoryStatus `json:"status,omitempty,omitzero"`
}

// TrustedRepositorySpec says what is trusted, and from which commit on.
type TrustedRepositorySpec struct {
	// URL to fetch from: https, http, ssh, file, or an absolute path.
	// +kubebuilder:validation:MinLength=1
	URL string `json:"url"`
	// Aliases are other URLs by which agents' objects name the same repository.
	Aliases []string `json:"aliases,omitempty"`
	// Credentials is a folder with what the Git host asks for, a file each, named as in the Secrets of Flux's GitRepository: username and password, or
	// bearerToken; identity (an SSH key, its pass phrase in password) and known_hosts; ca.crt; tls.crt and tls.key; or of a GitHub App githubAppID,
	// githubAppInstallationID, githubAppPrivateKey and, of an own server, githubAppBaseURL (https://HOST/api/v3). Names and secrets are read at each
	// fetch, the others at the start.
	Credentials string `json:"credentials,omitempty"`
	// Branch that is protected, without refs/heads/.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('refs/')",message="the name of a branch, without refs/heads/"
	// +kubebuilder:validation:MaxLength=255
	Branch string `json:"branch"`
	// Anchor is the commit from which history is verified. It and everything before it is vouched for by this document.
	Anchor Anchor `json:"anchor"`
	// Signers that are trusted from the anchor on: people, bots and forges. With none, here or in a list, history ends at the anchor.
	Signers []Signer `json:"signers,omitempty"`
	// AllowedSigners are more signers, as OpenSSH writes them (ssh-keygen(1), ALLOWED SIGNERS).
	AllowedSigners string `json:"allowedSigners,omitempty"`
	// Revoked are keys that are refused whoever lists them: an SSH public key or its SHA256: fingerprint, the fingerprint of an OpenPGP key
	// or subkey, the SHA-256 of an X.509 certificate in hexadecimal.
	Revoked []string `json:"revoked,omitempty"`
	// SSHRevocationList is an OpenSSH key revocation list (ssh-keygen -k), in base64.
	SSHRevocationList string `json:"sshRevocationList,omitempty"`
	// X509Roots are the certificates (PEM) that X.509 signatures must chain to.
	X509Roots string `json:"x509Roots,omitempty"`
	// SignerList is a file of the repository that replaces the signers above from the commit on that adds it: each commit is judged by the
	// list of its verified parent. It is a document of kind SignerList (.yaml, .yml, .json), or else OpenSSH allowed_signers. Unless a rule
	// names the file, a change to it takes two signers (one, if there is only one).
	SignerList string `json:"signerList,omitempty"`
	// SigstoreTrustedRoot is a file (trusted_root.json) with the Fulcio and Rekor keys by which gitsign signatures are verified, offline.
	SigstoreTrustedRoot string `json:"sigstoreTrustedRoot,omitempty"`
	// Rules say whose signatures it takes, by path; the first whose paths match decides, and a path that none matches may be changed by
	// nobody. Without rules, one signature of any signer suffices.
	Rules []Rule `json:"rules,omitempty"`
	// History is which commits must be signed: FirstParent (the default) or Full.
	History History `json:"history,omitempty"`
	// Interval between fetches; 30s if it is not set.
	Interval metav1.Duration `json:"interval,omitempty"`
	// StaleAfter bounds the age of the last successful fetch; older, the gate answers "not yet". 0 is no bound.
	StaleAfter metav1.Duration `json:"staleAfter,omitempty"`
}

// Anchor is a trust anchor.
type Anchor struct {
	// Commit is a full commit id.
	// +kubebuilder:validation:Pattern=`^([0-9a-f]{40}|[0-9a-f]{64})$`
	Commit string `json:"commit"`
}

// SignerList is the document that a repository keeps of its own signers: whose signatures are accepted, and which keys are not (any more).
type SignerList struct {
	metav1.TypeMeta `json:",inline"`
	// Signers are the people, bots and forges whose signatures are accepted.
	Signers []Signer `json:"signers,omitempty"`
	// AllowedSigners are more signers, as OpenSSH writes them (ssh-keygen(1), ALLOWED SIGNERS).
	AllowedSigners string `json:"allowedSigners,omitempty"`
	// Revoked are keys that are refused whoever lists them: an SSH public key or its SHA256: fingerprint, the fingerprint of an OpenPGP key
	// or subkey, the SHA-256 of an X.509 certificate in hexadecimal.
	Revoked []string `json:"revoked,omitempty"`
	// SSHRevocationList is an OpenSSH key revocation list (ssh-keygen -k), in base64.
	SSHRevocationList string `json:"sshRevocationList,omitempty"`
	// X509Roots are the certificates (PEM) that X.509 signatures must chain to.
	X509Roots string `json:"x509Roots,omitempty"`
}

// Signer is a principal and the keys that speak for it.
type Signer struct {
	// Principal is the name that appears in records: an e-mail address, by custom. With certificate authorities under ssh it may be a pattern:
	// the principal is then the certificate's.
	Principal string `json:"principal"`
	// SSH keys, as in authorized_keys or allowed_signers (options allowed, without principals).
	SSH []string `json:"ssh,omitempty"`
	// OpenPGP is one or more ASCII-armoured public keys.
	OpenPGP string `json:"openpgp,omitempty"`
	// X509 are certificates of this signer that chain to x509Roots: an e-mail address that the certificate names, or the SHA-256 of
	// the certificate in hexadecimal.
	X509 []string `json:"x509,omitempty"`
	// Gitsign are identities that Fulcio vouched for.
	Gitsign []GitsignIdentity `json:"gitsign,omitempty"`
	// Forge says that this is a forge's own key, such as GitHub's web-flow. It proves that the forge made the commit, not who asked for it: it counts
	// only in rules that name it, word for word.
	Forge bool `json:"forge,omitempty"`
	// Expires is when this signer ends, by the time at which the gate first saw a commit; not set is never.
	Expires *metav1.Time `json:"expires,omitempty"`
}

// GitsignIdentity is an identity in a certificate of Fulcio. One of identity and identityPattern is set.
type GitsignIdentity struct {
	// Issuer is the OpenID Connect issuer, exactly: https://accounts.google.com.
	Issuer string `json:"issuer"`
	// Identity is the subject alternative name, exactly: an e-mail address or a URI.
	Identity string `json:"identity,omitempty"`
	// IdentityPattern is a regular expression that the whole name must match.
	IdentityPattern string `json:"identityPattern,omitempty"`
}

// +kubebuilder:validation:Enum=FirstParent;Full

// History is which commits are verified.
type History string

// The histories.
const (
	HistoryFirstParent History = "FirstParent" // the first-parent line; a merge vouches for what it brings in
	HistoryFull        History = "Full"        // every commit, merged-in ones too
)

// Rule says whose signatures a change to some paths takes.
type Rule struct {
	// Paths are patterns: * within a segment, ** across segments. Empty is every path.
	Paths []string `json:"paths,omitempty"`
	// Principals who may sign; patterns. Empty is every signer of the list.
	Principals []string `json:"principals,omitempty"`
	// Threshold is how many distinct principals it takes; 1 if it is not set. Whoever made the commit must be one of them; signers of merged-in commits are the others.
	Threshold int `json:"threshold,omitempty"`
}

// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=commitgate
// +kubebuilder:printcolumn:name=Ready,type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name=Mode,type=string,JSONPath=`.spec.mode`
// +kubebuilder:printcolumn:name=Scope,type=string,JSONPath=`.spec.scope`
// +kubebuilder:printcolumn:name=Objects,type=integer,JSONPath=`.status.objects`
// +kubebuilder:printcolumn:name=Exemptions,type=string,JSONPath=`.status.exemptions`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`

// Gate is what one gate guards, and how.
type Gate struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              GateSpec `json:"spec"`
	// Status is written by the gate, and never read by it.
	Status GateStatus `json:"status,omitempty,omitzero"`
}

// GateSpec is what one gate guards, and how.
type GateSpec struct {
	// Cluster names the cluster in records and policies.
	Cluster string `json:"cluster,omitempty"`
	// Mode: Enforce (the default), Warn or Audit.
	Mode Mode `json:"mode,omitempty"`
	// Scope: Everything (the default) or Declared.
	Scope Scope `json:"scope,omitempty"`
	// Overrides of mode and scope, by namespace, kind and reason; the first that matches decides.
	// +kubebuilder:validation:MaxItems=256
	Overrides []Override `json:"overrides,omitempty"`
	// Roots say where in Git the cluster is declared.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	Roots []Root `json:"roots"`
	// Agents are the identities that may apply what Git declares.
	// +kubebuilder:validation:MinItems=1
	Agents []Agent `json:"agents"`
	// Exemptions let somebody change something without Git.
	// +kubebuilder:validation:MaxItems=1024
	Exemptions []Exemption `json:"exemptions,omitempty"`
	// DryRuns say which declared objects the gate sends to the API server as a dry-run, under its own identity, when a field that the agent
	// applies has no other reason: what comes back is what this cluster's mutating admission adds. With none, the gate never writes, not even to try.
	// +kubebuilder:validation:MaxItems=256
	DryRuns []DryRun `json:"dryRuns,omitempty"`
	// Policies are folders of trusted repositories that hold Rego. Unless a rule of the repository is about such a folder, a change in it takes two signers
	// (one, if there is only one).
	Policies []PolicySource `json:"policies,omitempty"`
	// Window is how long a superseded revision is still accepted from an agent that lags behind; 5m if it is not set.
	Window metav1.Duration `json:"window,omitempty"`
	// Connect says who may exec, attach, port-forward and proxy; nobody if it is empty.
	// +kubebuilder:validation:MaxItems=256
	Connect []ConnectRule `json:"connect,omitempty"`
	// Charts is a folder of the gate's machine with the packed charts that come from repositories and registries, which somebody fills: SHA256.tgz, and
	// SHA256.json for the manifest of an OCI artifact. Of these the gate takes what Git records the digest of (docs/rendering.md).
	Charts string `json:"charts,omitempty"`
	// Kubernetes is what charts are told of the cluster (.Capabilities).
	Kubernetes Kubernetes `json:"kubernetes,omitempty,omitzero"`
	// ServiceAccount is the gate's own user name; its writes are refused but for dry-runs and its own status.
	ServiceAccount string `json:"serviceAccount,omitempty"`
	// Decryption is with what values are opened that Git holds encrypted; without it they are explained by shape.
	Decryption *Decryption `json:"decryption,omitempty"`
	// BreakGlass says who may sign grants; without it there is no break-glass.
	BreakGlass *BreakGlass `json:"breakGlass,omitempty"`
}

// Decryption is what opens values that Git holds encrypted, as spec.decryption of a Flux Kustomization does in its cluster.
type Decryption struct {
	// Provider is sops, also if it is not set: Flux knows no other.
	// +kubebuilder:validation:Enum=sops
	Provider string `json:"provider,omitempty"`
	// Keys is a folder with the keys, named as in the Secret that Flux takes them from: *.agekey (age), *.asc (OpenPGP, armored, without a
	// passphrase). They are read at the start. Keys that only Flux holds stay there: what they encrypt is explained by shape.
	// +kubebuilder:validation:MinLength=1
	Keys string `json:"keys"`
}

// Kubernetes is what charts are told of the cluster, whatever the cluster is: rendering asks nobody.
type Kubernetes struct {
	// Version of the cluster, such as v1.36.3. If it is not set, charts are told that of the Kubernetes libraries in commitgate, v1.36.
	// +kubebuilder:validation:Pattern=`^v?[0-9]+\.[0-9]+(\.[0-9]+)?([-+].*)?$`
	Version string `json:"version,omitempty"`
	// APIVersions that the cluster serves beside those of Kubernetes itself and of the CRDs in Git: group/version, and group/version/Kind where
	// charts ask for that.
	// +kubebuilder:validation:MaxItems=1024
	APIVersions []string `json:"apiVersions,omitempty"`
}

// BreakGlass says whose signatures make a grant, and how long one may last. It needs a cluster name: a grant is bound to it.
type BreakGlass struct {
	// Signers are the people who may sign grants, with their SSH and OpenPGP keys.
	Signers []Signer `json:"signers"`
	// Threshold is how many distinct people must sign a grant; 2 if it is not set. One of them suffices to revoke.
	Threshold int `json:"threshold,omitempty"`
	// MaxDuration bounds how long a grant may last; 24h if it is not set.
	MaxDuration metav1.Duration `json:"maxDuration,omitempty"`
	// Limits bound what a grant may ask; whoever signs it.
	Limits GrantLimits `json:"limits,omitempty,omitzero"`
}

// +kubebuilder:validation:XValidation:rule="has(self.mode) || has(self.scope)",message="changes neither mode nor scope"

// Override changes mode or scope for some requests.
type Override struct {
	// Namespaces are patterns with *; empty is all, an empty string stands for cluster-scoped objects.
	Namespaces []string `json:"namespaces,omitempty"`
	// Kinds are Kind or Kind.group; empty is all.
	Kinds []string `json:"kinds,omitempty"`
	// Reasons limit a mode to some refusals; empty is all.
	Reasons []Reason `json:"reasons,omitempty"`
	// Mode for these requests; the gate's own if it is not set.
	Mode Mode `json:"mode,omitempty"`
	// Scope for these requests; the gate's own if it is not set.
	Scope Scope `json:"scope,omitempty"`
}

// +kubebuilder:validation:XValidation:rule="has(self.path) != has(self.objects)",message="want either path or objects"
// +kubebuilder:validation:XValidation:rule="!has(self.path) || has(self.repository)",message="repository is required with path"
// +kubebuilder:validation:XValidation:rule="!has(self.release) || has(self.path)",message="a release is of the chart at path"

// Root is where in Git some of the cluster is declared: a path of a repository, or an agent's object given word for word.
type Root struct {
	// Repository names a TrustedRepository. With objects it may be left out: their URL says which.
	Repository string `json:"repository,omitempty"`
	// Path of a folder (read recursively) or file. Agents' objects found there are followed.
	Path string `json:"path,omitempty"`
	// Agent names the agent that applies what the path holds; the only one if it is not set.
	Agent string `json:"agent,omitempty"`
	// Release says that path is the folder of a chart, of which a pipeline makes this release.
	Release *Release `json:"release,omitempty"`
	// Objects are agents' objects (a Flux Kustomization with its GitRepository, an Argo CD Application) that a
	// bootstrap tool made outside Git, word for word.
	// +kubebuilder:validation:items:XEmbeddedResource
	// +kubebuilder:validation:items:XPreserveUnknownFields
	Objects []runtime.RawExtension `json:"objects,omitempty"`
}

// Release is a Helm release that a pipeline makes: helm upgrade --install NAME PATH --namespace NAMESPACE --values FILE.
type Release struct {
	// Name of the release.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=53
	Name string `json:"name"`
	// Namespace of the release.
	// +kubebuilder:validation:MinLength=1
	Namespace string `json:"namespace"`
	// ValuesFiles are files of the repository, by their paths from its root, in the order of --values.
	ValuesFiles []string `json:"valuesFiles,omitempty"`
	// CreateNamespace: the pipeline says --create-namespace.
	CreateNamespace bool `json:"createNamespace,omitempty"`
	// NoHooks: the pipeline says --no-hooks.
	NoHooks bool `json:"noHooks,omitempty"`
	// SkipCRDs: the pipeline says --skip-crds.
	SkipCRDs bool `json:"skipCRDs,omitempty"`
	// Tests: the pipeline runs helm test.
	Tests bool `json:"tests,omitempty"`
	// RollbackOnFailure: the pipeline says --rollback-on-failure (--atomic): what a failed install has made may be deleted again.
	RollbackOnFailure bool `json:"rollbackOnFailure,omitempty"`
}

// Agent is a sync agent of this cluster.
type Agent struct {
	// Name by which roots and records speak of the agent.
	Name string `json:"name"`
	// Preset is whose ways it has: Flux, ArgoCD, Fleet, ConfigSync or Pipeline.
	Preset Preset `json:"preset"`
	// Users are the exact user names of the agent: system:serviceaccount:flux-system:kustomize-controller. The other programs of a Flux, an
	// Argo CD or a Fleet (whose fleet-controller is listed) are found beside them by their names: they keep status and notes, and apply nothing.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:items:Pattern=`^[^*]+$`
	Users []string `json:"users"`
	// Impersonates are the exact user names that the agent acts as; such requests carry no proof of a pod.
	Impersonates []string `json:"impersonates,omitempty"`
	// Pods, if set, are patterns of "namespace/name" that a token's pod claim must match where it has one. The pods of the other
	// programs beside them are known by the name of their account as well: source-controller-….
	Pods []string `json:"pods,omitempty"`
	// Fleet is what Fleet knows of this cluster, where it is not the local one: by that its targets choose.
	Fleet *FleetCluster `json:"fleet,omitempty"`
}

// FleetCluster is what the Cluster object of a Fleet installation says of this cluster. Not set is the cluster that Fleet itself runs in: Cluster local
// of namespace fleet-local, with the label name=local, in the cluster group default.
type FleetCluster struct {
	// Namespace of the Cluster object; only GitRepos of this namespace are followed. fleet-local if it is not set.
	Namespace string `json:"namespace,omitempty"`
	// Name of the Cluster object; local if it is not set.
	Name string `json:"name,omitempty"`
	// Labels of the Cluster object: all that targets or values ask for.
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations of the Cluster object: all that values ask for.
	Annotations map[string]string `json:"annotations,omitempty"`
	// TemplateValues are the Cluster's own (spec.templateValues): text, numbers and maps of them.
	// +kubebuilder:pruning:PreserveUnknownFields
	TemplateValues *runtime.RawExtension `json:"templateValues,omitempty"`
	// Groups are the ClusterGroups that select the cluster.
	// +kubebuilder:validation:MaxItems=256
	Groups []FleetGroup `json:"groups,omitempty"`
	// Scope is the agent's own (AGENT_SCOPE), which ends the mark on its objects: cattle-fleet-local-system under Rancher's local agent, otherwise none.
	Scope string `json:"scope,omitempty"`
}

// FleetGroup is a ClusterGroup of Fleet.
type FleetGroup struct {
	// Name of the ClusterGroup.
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`
	// Labels of the ClusterGroup, by which clusterGroupSelector finds it.
	Labels map[string]string `json:"labels,omitempty"`
}

// +kubebuilder:validation:XValidation:rule="has(self.users) || has(self.groups) || has(self.fields)",message="exempts everybody from everything: want users, groups or fields"

// Exemption lets somebody change something without Git: data, with a reason and an end.
type Exemption struct {
	// Name that stands in records.
	Name string `json:"name"`
	// Users are exact user names.
	Users []string `json:"users,omitempty"`
	// Groups are exact group names. Without users and groups, the exemption is for everybody, and needs fields.
	Groups []string `json:"groups,omitempty"`
	// Namespaces are patterns with *; empty is all.
	Namespaces []string `json:"namespaces,omitempty"`
	// Kinds are Kind or Kind.group; empty is all.
	Kinds []string `json:"kinds,omitempty"`
	// Names are patterns with *; empty is all.
	Names []string `json:"names,omitempty"`
	// Operations are CREATE, UPDATE, DELETE, CONNECT; empty is all.
	Operations []string `json:"operations,omitempty"`
	// Subresources that are covered too: "" is the object itself, "*" any; empty is the object itself only.
	Subresources []string `json:"subresources,omitempty"`
	// Fields are field paths, such as spec.replicas or metadata.annotations[example.com/key]; empty is the whole object.
	Fields []string `json:"fields,omitempty"`
	// Reason why this is right, for whoever reviews it.
	// +kubebuilder:validation:MinLength=1
	Reason string `json:"reason"`
	// Expires is when it ends; not set is never.
	Expires *metav1.Time `json:"expires,omitempty"`
}

// DryRun selects declared objects that this cluster's mutating admission changes.
type DryRun struct {
	// Namespaces are patterns with *; empty is all, an empty string stands for cluster-scoped objects.
	Namespaces []string `json:"namespaces,omitempty"`
	// Kinds are Kind or Kind.group; empty is all.
	Kinds []string `json:"kinds,omitempty"`
}

// PolicySource is a folder of a trusted repository that holds Rego.
type PolicySource struct {
	// Repository names a TrustedRepository.
	Repository string `json:"repository"`
	// Path of the folder.
	Path string `json:"path"`
}

// +kubebuilder:validation:XValidation:rule="has(self.users) || has(self.groups)",message="allows nobody: want users or groups"

// ConnectRule allows CONNECT requests.
type ConnectRule struct {
	// Users are exact user names.
	Users []string `json:"users,omitempty"`
	// Groups are exact group names.
	Groups []string `json:"groups,omitempty"`
	// Namespaces are patterns with *; empty is all.
	Namespaces []string `json:"namespaces,omitempty"`
	// Subresources are exec, attach, portforward, proxy; empty is all.
	Subresources []string `json:"subresources,omitempty"`
}
