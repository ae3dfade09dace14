// Package cluster runs a real Kubernetes control plane on this machine: etcd, kube-apiserver and
// kube-controller-manager from bin/, on free ports of the loopback interface.
//
// There is no node, no scheduler and no kubelet: Deployments become ReplicaSets and Pods, and the Pods stay Pending, unless StartNode has somebody
// play them. That is all that an admission webhook can see of a cluster, and it needs neither privileges nor containers.
//
// Everything a Cluster starts ends with the process that started it, in whichever way that ends.
package cluster
