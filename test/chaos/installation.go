package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	yamlstream "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/commitgate/commitgate/test/cluster"
	"github.com/commitgate/commitgate/test/lab"
)

const (
	namespace = "commitgate"
	webhook   = "commitgate" // the name of the webhook configuration
	patience  = time.Minute  // for anything to happen on a busy machine
	pause     = 100 * time.Millisecond
)

type object = map[string]any

// installation is what the chart renders, installed: its objects in the API server, and its StatefulSet as processes, since no node runs pods here.
type installation struct {
	lab      *lab.Lab
	client   kubernetes.Interface // of a member of commitgate:admins
	admin    string               // its kubeconfig
	program  string
	dir      string
	replicas []*replica
	balancer *balancer
	kubelet  func() // ends the loop that brings volumes to the replicas
	settings settings
}

// settings are what a short and a long run do differently.
type settings struct {
	linger   time.Duration // how long each event and its wake is watched
	drain    time.Duration // serve --drain
	look     time.Duration // between two looks at the readiness of a replica
	caSettle time.Duration // serve --ca-settle
}

// render is `helm template`, by the name of each object.
func (in *installation) render(mode string) (map[string]object, error) {
	root, err := cluster.ModuleRoot()
	if err != nil {
		return nil, err
	}
	text, err := template.ParseFiles(filepath.Join(root, "test", "chaos", "testdata", "values.yaml"))
	if err != nil {
		return nil, err
	}
	var filled bytes.Buffer
	if err := text.Execute(&filled, map[string]any{
		"URL": in.lab.Repository.URL(), "Anchor": in.lab.Anchor, "Alice": in.lab.Alice.Signer(), "Bob": in.lab.Bob.Signer(),
	}); err != nil {
		return nil, err
	}
	values, err := common.ReadValues(filled.Bytes())
	if err != nil {
		return nil, err
	}
	values["gate"].(object)["mode"] = mode
	chart, err := loader.Load(filepath.Join(root, "charts", "commitgate"))
	if err != nil {
		return nil, err
	}
	options := common.ReleaseOptions{Name: "commitgate", Namespace: namespace, IsInstall: true, Revision: 1}
	with, err := util.ToRenderValues(chart, values, options, common.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(chart, with)
	if err != nil {
		return nil, err
	}
	objects := map[string]object{}
	for name, text := range files {
		if path.Ext(name) == ".yaml" {
			if err := decode(text, objects); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	for _, crd := range chart.CRDObjects() {
		if err := decode(string(crd.File.Data), objects); err != nil {
			return nil, err
		}
	}
	return objects, nil
}

func decode(text string, into map[string]object) error {
	for d := yamlstream.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096); ; {
		var o object
		err := d.Decode(&o)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if o != nil {
			into[fmt.Sprintf("%v %v", o["kind"], o["metadata"].(object)["name"])] = o
		}
	}
}

// apply sends objects to the API server as a member of commitgate:admins.
func (in *installation) apply(ctx context.Context, objects map[string]object) error {
	var stream strings.Builder
	for _, name := range slices.Sorted(maps.Keys(objects)) {
		text, err := yaml.Marshal(objects[name])
		if err != nil {
			return err
		}
		stream.WriteString("---\n" + string(text))
	}
	_, err := in.lab.Cluster.Kubectl(ctx, in.admin, stream.String(), "apply", "--server-side", "--force-conflicts", "--filename=-")
	return err
}

// newInstallation installs the chart as docs/install.md says: first without the webhook; then, when every replica is ready, with it.
func newInstallation(ctx context.Context, l *lab.Lab, s settings) (in *installation, err error) {
	root, err := cluster.ModuleRoot()
	if err != nil {
		return nil, err
	}
	in = &installation{lab: l, dir: filepath.Join(l.Dir, "nodes"), program: filepath.Join(root, "bin", "commitgate"), settings: s, kubelet: func() {}}
	defer func() {
		if err != nil {
			err = errors.Join(err, in.close())
		}
	}()
	admin, err := l.Cluster.User("installer", "system:masters", "commitgate:admins")
	if err != nil {
		return in, err
	}
	if in.admin, err = l.Cluster.Kubeconfig("installer", admin); err != nil {
		return in, err
	}
	if in.client, err = kubernetes.NewForConfig(admin); err != nil {
		return in, err
	}
	objects, err := in.render("Audit")
	if err != nil {
		return in, err
	}
	registration := objects["ValidatingWebhookConfiguration commitgate"]
	delete(objects, "ValidatingWebhookConfiguration commitgate")
	if err := in.apply(ctx, objects); err != nil {
		return in, err
	}
	if err := in.startReplicas(ctx); err != nil {
		return in, err
	}
	return in, in.register(ctx, registration)
}

// startReplicas starts what the StatefulSet describes, and the address in front.
func (in *installation) startReplicas(ctx context.Context) error {
	set, err := in.client.AppsV1().StatefulSets(namespace).Get(ctx, "commitgate", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if err := in.volumes(ctx, set); err != nil {
		return err
	}
	var backends []*backend
	for i := range int(*set.Spec.Replicas) {
		r, err := in.newReplica(i, set)
		if err != nil {
			return err
		}
		in.replicas = append(in.replicas, r)
		backends = append(backends, &backend{address: r.listen, probes: r.probes})
	}
	if err := in.witnesses(ctx); err != nil {
		return err
	}
	if in.balancer, err = newBalancer(backends, in.settings.look); err != nil {
		return err
	}
	in.runKubelet(set)
	for _, r := range in.replicas {
		if err := r.start(); err != nil {
			return err
		}
	}
	for _, r := range in.replicas {
		if err := r.waitReady(ctx); err != nil {
			return err
		}
	}
	return in.seenReady(ctx)
}

// seenReady waits until the balancer sends to every replica that is ready.
func (in *installation) seenReady(ctx context.Context) error {
	return eventually(ctx, func() error {
		for i, b := range in.balancer.backends {
			if !b.ready.Load() {
				return fmt.Errorf("%s is not seen ready", in.replicas[i].name)
			}
		}
		return nil
	})
}

// register puts the webhook in front of the API server. Only its address is not the chart's: no Service leads to a process.
func (in *installation) register(ctx context.Context, registration object) error {
	var configuration admissionregistrationv1.ValidatingWebhookConfiguration
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(registration, &configuration); err != nil {
		return err
	}
	secret, err := in.client.CoreV1().Secrets(namespace).Get(ctx, "commitgate-ca", metav1.GetOptions{})
	if err != nil {
		return err
	}
	url := "https://" + in.balancer.address() + "/review"
	for i := range configuration.Webhooks {
		configuration.Webhooks[i].ClientConfig = admissionregistrationv1.WebhookClientConfig{URL: &url, CABundle: secret.Data["tls.crt"]}
	}
	_, err = in.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(ctx, &configuration, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	return in.seenRegistered(ctx)
}

// seenRegistered waits until the API server asks: in mode Audit nothing is refused, but what it was told stands in its audit log.
func (in *installation) seenRegistered(ctx context.Context) error {
	n := 0
	return eventually(ctx, func() error {
		n++
		name := fmt.Sprintf("is-the-gate-there-%d-%d", time.Now().UnixNano(), n)
		_, _ = in.lab.Cluster.Kubectl(ctx, in.lab.CarolConfig, "", "create", "configmap", name, "--namespace=default", "--dry-run=server")
		events, _, err := in.lab.Cluster.Events(0)
		if err != nil {
			return err
		}
		for _, e := range slices.Backward(events) {
			if e.Annotations[annotation+"verdict"] != "" && strings.HasPrefix(e.User.Username, "carol") && e.DryRun() && time.Since(e.Received) < 5*time.Second {
				return nil
			}
		}
		return errors.New("the API server does not ask the gate")
	})
}

// witnesses gives each replica a key for its log and one for those of the others, and lets them cosign each other.
func (in *installation) witnesses(ctx context.Context) error {
	peers := map[string]string{} // the keys of each replica: of its log and of its witness
	for _, r := range in.replicas {
		var keys strings.Builder
		for file, name := range map[string]string{r.logKey(): "commitgate.dev/chaos/" + r.name, r.witnessKey(): "witness.example/" + r.name} {
			vkey, status, err := in.run(ctx, "audit", "keygen", name, "--out", file)
			if err != nil || status != 0 {
				return fmt.Errorf("keygen: status %d: %s: %w", status, vkey, err)
			}
			if err := os.WriteFile(file+".pub", []byte(vkey), 0o600); err != nil {
				return err
			}
		}
		for _, file := range []string{r.logKey(), r.witnessKey()} {
			vkey, err := os.ReadFile(file + ".pub")
			if err != nil {
				return err
			}
			keys.Write(vkey)
		}
		peers[r.name] = filepath.Join(r.dir, "peer.pub")
		if err := os.WriteFile(peers[r.name], []byte(keys.String()), 0o600); err != nil {
			return err
		}
	}
	for _, r := range in.replicas {
		r.args = append(r.args, "--audit-key="+r.logKey(), "--audit-witness-key="+r.witnessKey())
		for _, other := range in.replicas {
			if other != r {
				r.args = append(r.args, "--audit-peer=http://"+other.probes+"="+peers[other.name])
			}
		}
	}
	return nil
}

// upgrade applies what the chart renders for a mode, and rolls the replicas as a StatefulSet does: one after the other, each ready before the next.
func (in *installation) upgrade(ctx context.Context, mode string) error {
	objects, err := in.render(mode)
	if err != nil {
		return err
	}
	delete(objects, "Secret commitgate-ca") // helm looks it up and leaves it
	delete(objects, "ValidatingWebhookConfiguration commitgate")
	for name := range objects {
		if strings.HasPrefix(name, "CustomResourceDefinition ") || strings.HasPrefix(name, "Cluster") || strings.HasPrefix(name, "ValidatingAdmission") {
			delete(objects, name) // as they are
		}
	}
	if err := in.apply(ctx, objects); err != nil {
		return err
	}
	set, err := in.client.AppsV1().StatefulSets(namespace).Get(ctx, "commitgate", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if err := in.volumes(ctx, set); err != nil {
		return err
	}
	return in.roll(ctx)
}

// roll restarts one replica after the other (SIGTERM), as a rolling update of the StatefulSet does: from the last to the first.
func (in *installation) roll(ctx context.Context) error {
	for _, r := range slices.Backward(in.replicas) {
		if err := r.end(ctx); err != nil {
			return err
		}
		if err := r.start(); err != nil {
			return err
		}
		if err := r.waitReady(ctx); err != nil {
			return err
		}
		if err := in.seenReady(ctx); err != nil { // the controller waits for the same readiness that the Service goes by
			return err
		}
	}
	return nil
}

// runKubelet brings changes of ConfigMaps and Secrets to the replicas, until close.
func (in *installation) runKubelet(set *appsv1.StatefulSet) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	in.kubelet = func() { cancel(); <-done }
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			_ = in.volumes(ctx, set) // an API server that does not answer is asked again
			select {
			case <-ctx.Done():
			case <-time.After(500 * time.Millisecond):
			}
		}
	}()
}

// volumes writes the ConfigMaps and Secrets that the pods mount to the folders that stand for their mounts.
func (in *installation) volumes(ctx context.Context, set *appsv1.StatefulSet) error {
	for _, v := range set.Spec.Template.Spec.Volumes {
		dir := in.volume(v.Name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		switch {
		case v.ConfigMap != nil:
			o, err := in.client.CoreV1().ConfigMaps(namespace).Get(ctx, v.ConfigMap.Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			for key, text := range o.Data {
				if err := replace(filepath.Join(dir, key), []byte(text)); err != nil {
					return err
				}
			}
		case v.Secret != nil:
			o, err := in.client.CoreV1().Secrets(namespace).Get(ctx, v.Secret.SecretName, metav1.GetOptions{})
			if err != nil {
				return err
			}
			for _, item := range v.Secret.Items {
				if err := replace(filepath.Join(dir, item.Path), o.Data[item.Key]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (in *installation) volume(name string) string { return filepath.Join(in.dir, "volumes", name) }

// replace writes a file whole, if it does not hold that already.
func replace(file string, data []byte) error {
	if have, err := os.ReadFile(file); err == nil && bytes.Equal(have, data) {
		return nil
	}
	hidden := filepath.Join(filepath.Dir(file), "."+filepath.Base(file))
	if err := os.WriteFile(hidden, data, 0o600); err != nil {
		return err
	}
	return os.Rename(hidden, file)
}

// run runs another command of commitgate.
func (in *installation) run(ctx context.Context, args ...string) (string, int, error) {
	return (&lab.Gate{Program: in.program}).Run(ctx, args...)
}

// logs are the folders of the audit logs.
func (in *installation) logs() []string {
	var dirs []string
	for _, r := range in.replicas {
		dirs = append(dirs, r.auditLog())
	}
	return dirs
}

func (in *installation) close() error {
	in.kubelet()
	var errs []error
	for _, r := range in.replicas {
		errs = append(errs, r.kill())
	}
	if in.balancer != nil {
		errs = append(errs, in.balancer.close())
	}
	return errors.Join(errs...)
}

// eventually tries until there is no error.
func eventually(ctx context.Context, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; last: %w", ctx.Err(), err)
		case <-time.After(pause):
		}
	}
}
