package admit

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/breakglass"
)

// grantDocument judges the objects that carry grants. Anybody whom RBAC lets may bring one whose signatures suffice, add a signed revocation, or delete
// it; nobody may make another of it.
func (j *judgement) grantDocument() *Decision {
	if j.key.Group != v1alpha1.GroupVersion().Group || j.key.Kind != v1alpha1.KindGrant || j.r.Subresource != "" {
		return nil
	}
	if j.r.Operation == Delete {
		return allow(v1alpha1.ReasonGrantDocument)
	}
	if j.r.Operation == Update && !onlyRevoked(j.r.Old, j.r.Object) {
		return deny(v1alpha1.ReasonGrantRefused, "%s may not %s: a grant is signed as it is.\nNext: revoke or delete it, and have another one signed.", j.r.User.Name, j.what())
	}
	g, err := asGrant(j.r.Object)
	if err == nil {
		err = j.Grants.Judge(g, j.Now)
	}
	if err != nil {
		return deny(v1alpha1.ReasonGrantRefused, "%s opens nothing: %s.\nNext: see commitgate breakglass sign --help.", j.key, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return allow(v1alpha1.ReasonGrantDocument)
}

// asGrant reads the object of a review, as the API server holds it.
func asGrant(object map[string]any) (*v1alpha1.Grant, error) {
	bare := maps.Clone(object)
	delete(bare, "status")
	data, err := json.Marshal(bare)
	if err != nil {
		return nil, err
	}
	return v1alpha1.ParseGrant(data)
}

// onlyRevoked tells whether an update leaves a grant as it was signed, but for a revocation.
func onlyRevoked(old, object map[string]any) bool {
	before, err := asGrant(old)
	if err != nil {
		return false
	}
	after, err := asGrant(object)
	if err != nil {
		return false
	}
	if before.Revocation != nil && !reflect.DeepEqual(before.Revocation, after.Revocation) {
		return false
	}
	return reflect.DeepEqual(before.Spec, after.Spec) && reflect.DeepEqual(before.Signatures, after.Signatures)
}

// granted lets pass what an active grant covers, whatever Git says, and whether or not Git is known.
func (j *judgement) granted() *Decision {
	way := j.guardIdentity()
	q := breakglass.Question{
		User: j.r.User.Name, Groups: j.r.User.Groups, Operation: string(j.r.Operation), Object: j.key, Subresource: j.r.Subresource,
		AgentIdentity: way != nil && way.Outcome != Allow,
	}
	g := j.Grants.Covering(q, j.Now)
	if g == nil {
		return nil
	}
	d := allow(v1alpha1.ReasonGranted)
	d.Role, d.Rule, d.Grant = RoleGrant, g.Name, g
	d.Warnings = []string{"commitgate: break-glass grant " + g.Name + " lets this pass, on record; bring it back to Git"}
	return d
}
