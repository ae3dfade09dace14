package chaos

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/commitgate/commitgate/test/lab"
)

// Who asks for what. The user agent tells the API server's audit log who of the two that are Flux by their token is the thief.
const thief = "thief/1.0"

const (
	between = 150 * time.Millisecond // two tries of somebody who may not
	pushes  = time.Second            // between two commits
	tryFor  = 8 * time.Second        // how long a client goes on with one request that is answered "not yet"
)

// load is everybody at work: Bob pushes signed commits, Flux applies them, the controllers follow; Carol, who may do everything by RBAC, and somebody
// who stole Flux's token try to write what nobody signed.
type load struct {
	lab     *lab.Lab
	carol   kubernetes.Interface
	stolen  kubernetes.Interface
	stop    context.CancelFunc
	running sync.WaitGroup
	syncing sync.Mutex // one reconciliation at a time, as in the agent
	// unheard counts requests that never reached an API server, since it was away.
	unheard atomic.Int64
	// answered counts the requests of Carol and the thief to which an API server said anything.
	answered atomic.Int64
	pushed   atomic.Int64
}

// triers are how many try at a time what only Git may.
const triers = 3

func clientOf(kubeconfig, userAgent string) (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	if userAgent != "" {
		config.UserAgent = userAgent
	}
	return kubernetes.NewForConfig(rest.CopyConfig(config))
}

// startLoad lets everybody begin. The caller must end it.
func startLoad(l *lab.Lab) (*load, error) {
	o := &load{lab: l}
	var err error
	if o.carol, err = clientOf(l.CarolConfig, ""); err != nil {
		return nil, err
	}
	if o.stolen, err = clientOf(l.FluxConfig, thief); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	o.stop = stop
	repeat := func(pause time.Duration, do func(ctx context.Context, n int)) {
		o.running.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				do(ctx, n)
				select {
				case <-ctx.Done():
				case <-time.After(pause):
				}
			}
		})
	}
	repeat(pushes, func(ctx context.Context, n int) { _ = o.push(ctx) }) // a Git host that is down takes it the next time
	repeat(between, func(ctx context.Context, _ int) { _ = o.sync(ctx) })
	for _, who := range []string{"a", "b"} {
		repeat(between, func(ctx context.Context, n int) { o.carolTries(ctx, who, n) })
	}
	repeat(2*between, o.thiefTries)
	return o, nil
}

func (o *load) end() {
	o.stop()
	o.running.Wait()
}

// push changes what is declared: a text, and each time another image, so that the controllers have something to do.
func (o *load) push(ctx context.Context) error {
	n := o.pushed.Add(1)
	banner := fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: banner\n  namespace: shop\ndata:\n  text: push %d\n", n)
	cart, err := o.lab.Repository.Read("apps/shop/cart.yaml")
	if err != nil {
		return err
	}
	before, rest, _ := strings.Cut(cart, "shop/cart:")
	_, after, _ := strings.Cut(rest, "\n")
	_, err = o.lab.Repository.Publish(ctx, o.lab.Bob, fmt.Sprintf("push %d", n), map[string]string{
		"apps/shop/banner.yaml": banner, "apps/shop/cart.yaml": fmt.Sprintf("%sshop/cart:1.%d.0\n%s", before, n/4, after),
	})
	return err
}

// sync is one reconciliation of Flux.
func (o *load) sync(ctx context.Context) error {
	o.syncing.Lock()
	defer o.syncing.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 2*tryFor)
	defer cancel()
	_, err := o.lab.Flux.Sync(ctx)
	return err
}

// converged reconciles until the cluster is what the branch says.
func (o *load) converged(ctx context.Context) error {
	return eventually(ctx, func() error {
		if err := o.sync(ctx); err != nil {
			return err
		}
		declared, err := o.lab.Repository.Read("apps/shop/banner.yaml")
		if err != nil {
			return err
		}
		live, err := o.carol.CoreV1().ConfigMaps("shop").Get(ctx, "banner", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if text := live.Data["text"]; !strings.Contains(declared, text+"\n") {
			return fmt.Errorf("the cluster is at %q", text)
		}
		return nil
	})
}

// carolTries makes, in turn, what only Git may: each time something else, so that each success would be a change.
func (o *load) carolTries(ctx context.Context, who string, n int) {
	ctx, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	name := fmt.Sprintf("carol-%s-%d", who, n)
	var err error
	switch n % 3 {
	case 0:
		_, err = o.carol.CoreV1().ConfigMaps("shop").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	case 1:
		patch := fmt.Sprintf(`{"metadata":{"annotations":{"note":%q}}}`, name)
		_, err = o.carol.CoreV1().Services("shop").Patch(ctx, "cart", types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	case 2:
		_, err = o.carol.RbacV1().ClusterRoleBindings().Create(ctx, clusterAdmin(name), metav1.CreateOptions{})
	}
	o.heard(ctx, err)
}

// thiefTries does with Flux's own token what the branch does not say.
func (o *load) thiefTries(ctx context.Context, n int) {
	ctx, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	name := fmt.Sprintf("thief-%d", n)
	var err error
	switch n % 2 {
	case 0:
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{
			HostNetwork: true, Containers: []corev1.Container{{Name: "miner", Image: "registry.example.com/miner"}},
		}}
		_, err = o.stolen.CoreV1().Pods("shop").Create(ctx, pod, metav1.CreateOptions{})
	case 1:
		patch := fmt.Sprintf(`{"data":{"currency":%q}}`, name)
		_, err = o.stolen.CoreV1().ConfigMaps("shop").Patch(ctx, "settings", types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	}
	o.heard(ctx, err)
}

// heard counts requests that an API server answered, and those to which none did.
func (o *load) heard(ctx context.Context, err error) {
	var status interface{ Status() metav1.Status }
	switch {
	case err == nil || errors.As(err, &status):
		o.answered.Add(1)
	case ctx.Err() == nil:
		o.unheard.Add(1)
	}
}

// tried waits until a request was answered that began after now: each trier may have one underway.
func (o *load) tried(ctx context.Context) error {
	before := o.answered.Load()
	return eventually(ctx, func() error {
		if n := o.answered.Load() - before; n <= triers {
			return fmt.Errorf("%d requests were answered, want %d", n, triers+1)
		}
		return nil
	})
}

func clusterAdmin(name string) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}},
	}
}
