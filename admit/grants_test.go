package admit

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/breakglass"
	"github.com/commitgate/commitgate/snapshot"
	"github.com/commitgate/commitgate/test/forge"
)

// signedGrant is a grant for Carol, signed by Alice, and the store of a gate that trusts her.
func signedGrant(t *testing.T) (*breakglass.Store, *v1alpha1.Grant) {
	t.Helper()
	f, err := forge.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	alice, err := f.WithSSHKey(t.Context(), "Alice", "alice@example.org")
	if err != nil {
		t.Fatal(err)
	}
	authority, err := breakglass.NewAuthority(&v1alpha1.GateSpec{Cluster: "shop", BreakGlass: &v1alpha1.BreakGlass{
		Signers: []v1alpha1.Signer{alice.Signer()}, Threshold: 1, MaxDuration: metav1.Duration{Duration: time.Hour},
	}})
	if err != nil {
		t.Fatal(err)
	}
	store, err := breakglass.Open(authority, "")
	if err != nil {
		t.Fatal(err)
	}
	g := &v1alpha1.Grant{TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.APIVersion, Kind: v1alpha1.KindGrant}, Spec: v1alpha1.GrantSpec{
		Cluster: "shop", Users: []string{carol.Name}, Namespaces: []string{"shop"}, Kinds: []string{"ConfigMap"}, Operations: []string{"UPDATE"},
		From: metav1.NewTime(testTime.Add(-time.Minute)), Until: metav1.NewTime(testTime.Add(time.Minute)), Reason: "the cart is down", RequestedBy: "carol",
	}}
	g.Name = "inc-7"
	text, err := breakglass.Statement(g)
	if err != nil {
		t.Fatal(err)
	}
	sign := exec.CommandContext(t.Context(), "ssh-keygen", "-Y", "sign", "-n", breakglass.Namespace, "-f", alice.KeyFile())
	sign.Stdin = bytes.NewReader(text)
	signature, err := sign.Output()
	if err != nil {
		t.Fatal(err)
	}
	g.Signatures = []string{string(signature)}
	return store, g
}

func content(t *testing.T, g *v1alpha1.Grant) map[string]any {
	t.Helper()
	data, err := json.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	return object(t, string(data))
}

// A grant lets pass what it covers when nothing was ever heard of Git, and what Git says otherwise; and nothing else.
func TestGranted(t *testing.T) {
	store, g := signedGrant(t)
	w := newWorld(t, testConfig, cart)
	truth := w.Truth
	asApplied := applied(t, cart)
	recolored := clone(t, asApplied)
	recolored["data"].(map[string]any)["color"] = "red"
	w.Grants = store.Set()
	w.want("before it is there", request(carol, asApplied, recolored), Deny, v1alpha1.ReasonNotFromSyncAgent)
	if err := store.Observe(g, testTime); err != nil {
		t.Fatal(err)
	}
	w.Grants = store.Set()
	for name, truth := range map[string]*snapshot.Truth{"Git says otherwise": truth, "nothing is known of Git": {}} {
		w.Truth = truth
		d := w.want(name, request(carol, asApplied, recolored), Allow, v1alpha1.ReasonGranted)
		if d.Role != RoleGrant || d.Rule != "inc-7" || d.Grant == nil || len(d.Warnings) != 1 || len(d.Warnings[0]) > maxWarning {
			t.Errorf("%s: not loud enough: %+v", name, d)
		}
		if d := w.decide(request(carol, asApplied, nil)); d.Outcome == Allow {
			t.Errorf("%s: it covers a deletion, which it does not say", name)
		}
		if d := w.decide(request(User{Name: "mallory"}, asApplied, recolored)); d.Outcome == Allow {
			t.Errorf("%s: it covers another user", name)
		}
	}
	w.Now = testTime.Add(time.Minute)
	w.want("when it is over", request(carol, asApplied, recolored), Deny, v1alpha1.ReasonNotFromSyncAgent)
}

// Whoever may write objects of its kind can bring a grant that is signed, and delete it; nobody can make one, or another of it.
func TestGrantDocument(t *testing.T) {
	store, g := signedGrant(t)
	w := newWorld(t, testConfig, cart)
	w.Grants = store.Set()
	signed := content(t, g)
	widened := clone(t, signed)
	widened["spec"].(map[string]any)["namespaces"] = []any{"*"}
	labelled := clone(t, signed)
	labelled["metadata"].(map[string]any)["labels"] = map[string]any{"incident": "7"}
	unknown := clone(t, signed)
	unknown["spec"].(map[string]any)["forever"] = true
	revoked := clone(t, signed)
	revoked["revocation"] = map[string]any{"reason": "so there"}

	mallory := User{Name: "mallory"}
	w.want("signed", request(mallory, nil, signed), Allow, v1alpha1.ReasonGrantDocument)
	w.want("widened", request(mallory, nil, widened), Deny, v1alpha1.ReasonGrantRefused)
	w.want("with a field that nobody knows", request(mallory, nil, unknown), Deny, v1alpha1.ReasonGrantRefused)
	w.want("widened afterwards", request(mallory, signed, widened), Deny, v1alpha1.ReasonGrantRefused)
	w.want("labelled", request(mallory, signed, labelled), Allow, v1alpha1.ReasonGrantDocument)
	w.want("revoked by nobody who may", request(mallory, signed, revoked), Deny, v1alpha1.ReasonGrantRefused)
	w.want("deleted", request(mallory, signed, nil), Allow, v1alpha1.ReasonGrantDocument)
	w.Grants = nil
	w.want("where nobody may sign", request(mallory, nil, signed), Deny, v1alpha1.ReasonGrantRefused)
}
