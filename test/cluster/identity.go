package cluster

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Admin is a human of the group system:masters, whom no authorizer asks.
func (c *Cluster) Admin() *rest.Config { return rest.CopyConfig(c.admin) }

// User is somebody with a client certificate. What they may do is up to RBAC.
func (c *Cluster) User(name string, groups ...string) (*rest.Config, error) {
	p, err := c.ca.client(name, groups...)
	if err != nil {
		return nil, err
	}
	config := c.anonymous()
	config.CertData, config.KeyData = p.cert, p.key
	return config, nil
}

// ServiceAccount is an existing service account, by a token that the API server issues. If pod is not empty the token is bound
// to that existing pod, as the tokens are that a kubelet mounts: its name and uid are then claims of every request.
func (c *Cluster) ServiceAccount(ctx context.Context, namespace, name, pod string) (*rest.Config, error) {
	client, err := kubernetes.NewForConfig(c.admin)
	if err != nil {
		return nil, err
	}
	lifetime := int64((24 * time.Hour).Seconds())
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &lifetime}}
	if pod != "" {
		p, err := client.CoreV1().Pods(namespace).Get(ctx, pod, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod, UID: p.UID}
	}
	token, err := client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, request, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("token of %s/%s: %w", namespace, name, err)
	}
	config := c.anonymous()
	config.BearerToken = token.Status.Token
	return config, nil
}

// anonymous reaches the API server without saying who asks.
func (c *Cluster) anonymous() *rest.Config {
	return &rest.Config{
		Host:            c.url,
		TLSClientConfig: rest.TLSClientConfig{CAData: c.ca.pem},
		QPS:             -1, // no limit: what is measured and tested is the server
	}
}

// Kubeconfig writes a kubeconfig for somebody and returns its path.
func (c *Cluster) Kubeconfig(name string, who *rest.Config) (string, error) {
	config := clientcmdapi.NewConfig()
	config.Clusters["commitgate"] = &clientcmdapi.Cluster{Server: who.Host, CertificateAuthorityData: who.CAData}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{
		ClientCertificateData: who.CertData, ClientKeyData: who.KeyData, Token: who.BearerToken,
	}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: "commitgate", AuthInfo: name}
	config.CurrentContext = name
	file := filepath.Join(c.dir, name+".kubeconfig")
	return file, clientcmd.WriteToFile(*config, file)
}

// KubectlError is kubectl's refusal: what it wrote to standard error, as a person would read it.
type KubectlError struct {
	Args   []string
	Stderr string
}

func (e *KubectlError) Error() string {
	return fmt.Sprintf("kubectl %s: %s", strings.Join(e.Args, " "), e.Stderr)
}

// Kubectl runs kubectl with a kubeconfig and returns its standard output. If kubectl fails, the error is a *KubectlError.
func (c *Cluster) Kubectl(ctx context.Context, kubeconfig, stdin string, args ...string) (string, error) {
	return c.kubectl(ctx, kubeconfig, stdin, nil, args)
}

// KubectlEdit runs `kubectl edit` with an editor: a command line that changes the file whose name is appended to it.
func (c *Cluster) KubectlEdit(ctx context.Context, kubeconfig, editor string, args ...string) (string, error) {
	return c.kubectl(ctx, kubeconfig, "", []string{"KUBE_EDITOR=" + editor}, append([]string{"edit"}, args...))
}

func (c *Cluster) kubectl(ctx context.Context, kubeconfig, stdin string, env, args []string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, "kubectl"), args...)
	// kubectl's caches and the files that it leaves behind live with the cluster, and nobody's own kubeconfig is read.
	cmd.Env = append(append(os.Environ(), "KUBECONFIG="+kubeconfig, "HOME="+c.dir, "TMPDIR="+c.dir), env...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(stderr.String())
		if text == "" {
			text = err.Error()
		}
		return stdout.String(), &KubectlError{Args: args, Stderr: text}
	}
	return stdout.String(), nil
}
