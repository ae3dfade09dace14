package e2e

import (
	"context"
	"testing"

	"github.com/commitgate/commitgate/test/lab"
)

// An operator brought its CRD by other means than Git. What the API server adds to its objects by that CRD is no drift, and
// what somebody else adds is.
func definitionsOfTheCluster(t *testing.T, l *lab.Lab) {
	ctx := t.Context()
	_, err := l.Repository.Publish(ctx, l.Bob, "a till", map[string]string{"apps/shop/till.yaml": "apiVersion: shop.example/v1\nkind: Till\nmetadata: {name: front, namespace: shop}\n" +
		"spec:\n  drawers:\n  - {name: left}\n  - {name: right, float: 50}\n"})
	check(t, err)
	// The API server may learn of a new kind a moment after it was made.
	check(t, l.Eventually(ctx, func(ctx context.Context) error {
		_, err := l.Flux.Sync(ctx)
		return err
	}))
	if got := get(t, l, ".spec.currency", "till", "front"); got != "EUR" {
		t.Errorf("the API server defaulted currency to %q", got)
	}
	_, err = l.Cluster.Kubectl(ctx, l.FluxConfig, "", "patch", "till", "front", "--namespace=shop", "--type=merge", `--patch={"spec":{"currency":"XBT"}}`)
	refused(t, err, "FieldsDiffer", "spec.currency")
	_, err = l.Cluster.Kubectl(ctx, l.FluxConfig, "", "patch", "till", "front", "--namespace=shop", "--type=json", `--patch=[{"op":"add","path":"/spec/drawers/-","value":{"name":"hidden"}}]`)
	refused(t, err, "FieldsDiffer", "drawers[name=hidden]")
}
