package admit

import (
	"strings"

	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/manifest"
)

// nodeUser begins the user name of every kubelet; the rest is its node.
const nodeUser = "system:node:"

// nodeTable is what kubelets do; a kubelet touches its own node's things only (NodeRestriction holds it to that, and so do we).
func nodeTable() []row {
	return []row{
		{"", "CU", "nodes", free((*judgement).ownNode)},
		{"", "U", "nodes/status", free((*judgement).ownNode)},
		{"", "U", "pods/status", free((*judgement).ownPod)},
		{"", "D", "pods", free((*judgement).ownPod)},
		{"", "C", "pods", free((*judgement).mirrorPod)},
		{"", "C", "pods/eviction", free((*judgement).evictsOwnPod)},
		{"", "C", "serviceaccounts/token", free((*judgement).tokenOfOwnPod)},
		{"", "C", "certificates.k8s.io/certificatesigningrequests", free((*judgement).ownCertificate)},
		{"", "C", "certificates.k8s.io/podcertificaterequests", free((*judgement).namesOwnNode)},
		{"", "CUD", "storage.k8s.io/csinodes", free((*judgement).ownNode)},
		{"", "U", "persistentvolumeclaims/status", always}, // a volume was grown
		{"", "CUD", "resource.k8s.io/resourceslices", free((*judgement).namesOwnNode)},
	}
}

func (j *judgement) node() string { return strings.TrimPrefix(j.r.User.Name, nodeUser) }

// ownNode holds for the kubelet's own Node, and what bears its name.
func (j *judgement) ownNode() bool { return j.key.Name == j.node() }

// namesOwnNode holds for objects that say themselves which node they are of.
func (j *judgement) namesOwnNode() bool {
	for _, object := range []map[string]any{j.r.Object, j.r.Old} {
		if object != nil && spec(object)["nodeName"] != j.node() {
			return false
		}
	}
	return true
}

// ownPod holds for pods that are bound to the kubelet's node.
func (j *judgement) ownPod() bool { return spec(j.r.Old)["nodeName"] == j.node() }

// elsewhere tells whether a pod is known to run on another node, or under another account than a token is asked for ("" is any). Where
// a pod runs is not known of every pod; NodeRestriction, which knows, is asked before us.
func (j *judgement) elsewhere(pod manifest.Key, account string) bool {
	p := j.Live.Object(pod)
	if p == nil {
		return false
	}
	return p.Node != "" && p.Node != j.node() || account != "" && p.Account != "" && p.Account != account
}

// evictsOwnPod holds for evictions by a kubelet: the review shows only the pod's name.
func (j *judgement) evictsOwnPod() bool { return !j.elsewhere(j.key, "") }

// tokenOfOwnPod holds for tokens that are bound to a pod of this node, and die with it.
func (j *judgement) tokenOfOwnPod() bool {
	ref, _ := spec(j.r.Object)["boundObjectRef"].(map[string]any)
	name, _ := ref["name"].(string)
	uid, _ := ref["uid"].(string)
	return ref["kind"] == "Pod" && name != "" && uid != "" &&
		!j.elsewhere(manifest.Key{Kind: "Pod", Namespace: j.r.Namespace, Name: name}, j.key.Name)
}

// ownCertificate holds for requests for the certificates that kubelets have: who it is for, the API server and the approver check.
func (j *judgement) ownCertificate() bool {
	signer, _ := spec(j.r.Object)["signerName"].(string)
	return signer == "kubernetes.io/kube-apiserver-client-kubelet" || signer == "kubernetes.io/kubelet-serving"
}

// mirrorPod holds for the shadow of a static pod, which runs whatever the API server says.
func (j *judgement) mirrorPod() bool {
	_, ok := annotationsOf(j.r.Object)["kubernetes.io/config.mirror"]
	owner, owned := live.ControllerOf(j.r.Object)
	return ok && spec(j.r.Object)["nodeName"] == j.node() && (!owned || owner.Kind == "Node" && owner.Name == j.node())
}
