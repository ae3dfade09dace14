package doctor

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

const (
	// logLines of each container are taken, and maxPart bytes of anything.
	logLines = 5000
	maxPart  = 16 << 20
)

// bundle is a bug report that is being written.
type bundle struct {
	tar *tar.Writer
	now time.Time
	// missing says what could not be collected, and why.
	missing []string
	err     error // of the writer
}

// Bundle writes a bug report (tar, gzip): versions, what Examine finds, status, metrics and logs of the replicas, and the objects of the installation. What cannot be had is
// listed in it. No Secret is read, and what looks like a secret is taken out of everything else.
func (d *Doctor) Bundle(ctx context.Context, to io.Writer, version string) error {
	compressed := gzip.NewWriter(to)
	b := &bundle{tar: tar.NewWriter(compressed), now: d.cfg.Now()}
	b.add("version.txt", []byte("commitgate "+version+"\nmade "+b.now.UTC().Format(time.RFC3339)+"\n"))
	b.json("doctor.json", d.Examine(ctx))
	replicas, err := d.Replicas(ctx)
	if err != nil {
		b.lacks("replicas", err)
	}
	b.json("status.json", replicas)
	for _, r := range replicas {
		d.replica(ctx, b, r)
	}
	if d.client != nil {
		d.objects(ctx, b)
	}
	b.add("missing.txt", []byte(strings.Join(b.missing, "")))
	if b.err == nil {
		b.err = b.tar.Close()
	}
	if b.err == nil {
		b.err = compressed.Close()
	}
	return b.err
}

// replica adds what one replica tells: metrics, and its log.
func (d *Doctor) replica(ctx context.Context, b *bundle, r Replica) {
	pod := r.Phase != ""
	var text []byte
	var err error
	if pod {
		text, err = d.Raw(ctx, r.Name, "/metrics")
	} else {
		text, err = fetch(ctx, strings.TrimRight(r.Name, "/")+"/metrics")
	}
	name := strings.NewReplacer("://", "-", ":", "-", "/", "-").Replace(r.Name)
	if err != nil {
		b.lacks("metrics of "+r.Name, err)
	} else {
		b.add("metrics/"+name+".txt", text)
	}
	if !pod {
		return
	}
	for suffix, options := range map[string]*corev1.PodLogOptions{"": {}, ".previous": {Previous: true}} {
		lines := int64(logLines)
		options.TailLines = &lines
		log, err := d.client.CoreV1().Pods(d.cfg.Namespace).GetLogs(r.Name, options).DoRaw(ctx)
		switch {
		case err == nil:
			b.add("logs/"+name+suffix+".log", log)
		case suffix == "":
			b.lacks("log of "+r.Name, err)
		}
	}
}

func fetch(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := (&http.Client{Timeout: askTimeout}).Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	return io.ReadAll(io.LimitReader(response.Body, maxPart))
}

// objects adds the objects of the installation: those in its namespace, and those of the cluster that bear its name. Secrets are not among them.
func (d *Doctor) objects(ctx context.Context, b *bundle) {
	client, err := dynamic.NewForConfig(d.cfg.Cluster)
	if err != nil {
		b.lacks("objects", err)
		return
	}
	for _, r := range []struct {
		schema.GroupVersionResource
		namespaced bool
	}{
		{schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingwebhookconfigurations"}, false},
		{schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingadmissionpolicies"}, false},
		{schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingadmissionpolicybindings"}, false},
		{schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles"}, false},
		{schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterrolebindings"}, false},
		{schema.GroupVersionResource{Group: "commitgate.dev", Version: "v1alpha1", Resource: "gates"}, false},
		{schema.GroupVersionResource{Group: "commitgate.dev", Version: "v1alpha1", Resource: "trustedrepositories"}, false},
		{schema.GroupVersionResource{Group: "commitgate.dev", Version: "v1alpha1", Resource: "grants"}, false},
		{schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "statefulsets"}, true},
		{schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "cronjobs"}, true},
		{schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"}, true},
		{schema.GroupVersionResource{Version: "v1", Resource: "pods"}, true},
		{schema.GroupVersionResource{Version: "v1", Resource: "services"}, true},
		{schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}, true},
		{schema.GroupVersionResource{Version: "v1", Resource: "events"}, true},
		{schema.GroupVersionResource{Version: "v1", Resource: "persistentvolumeclaims"}, true},
		{schema.GroupVersionResource{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"}, true},
		{schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"}, true},
		{schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}, true},
	} {
		var list *unstructured.UnstructuredList
		if r.namespaced {
			list, err = client.Resource(r.GroupVersionResource).Namespace(d.cfg.Namespace).List(ctx, metav1.ListOptions{})
		} else {
			list, err = client.Resource(r.GroupVersionResource).List(ctx, metav1.ListOptions{})
		}
		if err != nil {
			b.lacks(r.Resource, err)
			continue
		}
		for i := range list.Items {
			o := &list.Items[i]
			if !r.namespaced && r.Group != "commitgate.dev" && !strings.HasPrefix(o.GetName(), "commitgate") {
				continue // somebody else's
			}
			if text, err := yaml.Marshal(bare(o.Object)); err != nil {
				b.lacks(r.Resource+" "+o.GetName(), err)
			} else {
				b.add(path.Join("objects", r.Resource, o.GetName()+".yaml"), text)
			}
		}
	}
}

func (b *bundle) lacks(what string, err error) {
	b.missing = append(b.missing, fmt.Sprintf("%s: %v\n", what, err))
}

func (b *bundle) json(name string, v any) {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		b.lacks(name, err)
		return
	}
	b.add(name, append(text, '\n'))
}

// add writes one file, without what looks like a secret.
func (b *bundle) add(name string, text []byte) {
	if b.err != nil {
		return
	}
	text = redact(bytes.ToValidUTF8(text, []byte("?")))
	if len(text) > maxPart {
		text = append(text[:maxPart], "\n(cut)\n"...)
	}
	b.err = b.tar.WriteHeader(&tar.Header{Name: "commitgate-bugreport/" + name, Mode: 0o600, Size: int64(len(text)), ModTime: b.now})
	if b.err == nil {
		_, b.err = b.tar.Write(text)
	}
}
