package controllers

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/commitgate/commitgate/test/cluster"
)

var corev1ConfigMap = corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "by-hand"}, Data: map[string]string{"a": "b"}}

// startNode has a scheduler and a kubelet work until the test ends.
func (g *gate) startNode() *cluster.Node {
	g.t.Helper()
	n, err := g.cluster.StartNode(g.t.Context(), g.t.Logf)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(n.Stop)
	return n
}
