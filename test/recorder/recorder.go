// Package recorder writes down what a real API server asks a webhook while people, agents and controllers work, in the form of the recordings of
// test/corpus, and plays such recordings back. What each review should be answered is told by who asks and by what the script was doing at that moment;
// the gate is not asked. The webhook allows everything: nothing that the gate would do shows in a recording.
package recorder

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/commitgate/commitgate/git"
)

// People say what the writes of people are in a step of the script.
type People string

const (
	// Drift changes what Git declares, or what would change it: refused.
	Drift People = "human-drift-of-git-object"
	// Aside is about what Git does not declare: left to RBAC, refused where everything is guarded.
	Aside People = "human-object-not-in-git"
	// AsGit makes or leaves an object as Git says.
	AsGit People = "human-write-equal-to-git"
	// Unjudged is up to the configuration: the agent's own objects, made outside Git.
	Unjudged People = "human-gitops-config"
)

// Line is one line of a recording: a review with its label, or a marker.
type Line struct {
	Arrival  time.Time       `json:"arrival"`
	Seq      int             `json:"seq"`
	Scenario string          `json:"scenario,omitempty"`
	Bytes    int             `json:"bytes,omitempty"`
	Marker   string          `json:"marker,omitempty"`
	Review   json.RawMessage `json:"review,omitempty"`
	Label    *Label          `json:"label,omitempty"`
}

// Label is what is known of a review without the gate. Expect is allow, deny, or "" where the label does not say; Strict is the same where everything is
// guarded.
type Label struct {
	Class  string `json:"class"`
	Expect string `json:"expect"`
	Strict string `json:"strict"`
	Git    struct {
		Commit git.ID `json:"commit"`
	} `json:"git"`
	Step string `json:"step"`
}

// Recorder is the webhook. Its methods may be called at any time.
type Recorder struct {
	// Agents are the user names under which agents and pipelines apply Git.
	Agents []string
	// Outside are namespaces of which Git knows nothing.
	Outside []string

	server *httptest.Server

	mu       sync.Mutex
	lines    []Line
	seq      int
	scenario string
	step     string
	people   People
	commit   git.ID
}

// Start registers the webhook in front of everything and waits until the API server asks it. The caller must Close the recorder.
func (r *Recorder) Start(ctx context.Context, admin *rest.Config) error {
	r.server = httptest.NewTLSServer(http.HandlerFunc(r.serve))
	client, err := kubernetes.NewForConfig(admin)
	if err != nil {
		return err
	}
	url := r.server.URL + "/review"
	ignore, none, all, equivalent := admissionregistrationv1.Ignore, admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.AllScopes, admissionregistrationv1.Equivalent
	_, err = client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(ctx, &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "recorder"},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "recorder.test.example", ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: &url, CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.server.Certificate().Raw})},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{"*"},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*/*"}, Scope: &all},
			}},
			FailurePolicy: &ignore, SideEffects: &none, MatchPolicy: &equivalent, AdmissionReviewVersions: []string{"v1"},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	probe := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "probe"}}
	for {
		_, err := client.CoreV1().ConfigMaps("default").Create(ctx, probe, metav1.CreateOptions{DryRun: []string{"All"}})
		if err == nil && r.begun() {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the API server does not ask the recorder: %w; last: %w", ctx.Err(), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// begun tells whether a probe has arrived, and forgets the probes.
func (r *Recorder) begun() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.ContainsFunc(r.lines, func(l Line) bool { return strings.Contains(string(l.Review), `"name":"probe"`) }) {
		return false
	}
	r.lines = nil
	return true
}

// Close ends the webhook; what is asked afterwards passes unrecorded.
func (r *Recorder) Close() {
	if r.server != nil {
		r.server.CloseClientConnections()
		r.server.Close()
	}
}

// Scenario begins a part of the recording.
func (r *Recorder) Scenario(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.scenario = name
}

// Step marks what the script does next, and what the writes of people are from now on.
func (r *Recorder) Step(what string, people People) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.step, r.people = what, people
	r.lines = append(r.lines, Line{Arrival: time.Now(), Seq: r.seq, Scenario: r.scenario, Marker: what})
}

// Commit says which commit is in force from now on.
func (r *Recorder) Commit(id git.ID, message string) {
	r.mu.Lock()
	r.commit = id
	r.mu.Unlock()
	r.Step(fmt.Sprintf("commit %s: %s", id, message), Unjudged)
}

// Recording takes what has been recorded of a scenario.
func (r *Recorder) Recording(scenario string) []Line {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Line
	for _, l := range r.lines {
		if l.Scenario == scenario {
			out = append(out, l)
		}
	}
	return out
}

func (r *Recorder) serve(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	var review admissionv1.AdmissionReview
	if err == nil {
		err = json.Unmarshal(body, &review)
	}
	if err == nil && review.Request == nil {
		err = errors.New("a review without a request")
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.record(body, review.Request)
	review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
	review.Request = nil
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review) // a caller who went away asks again
}

func (r *Recorder) record(body []byte, request *admissionv1.AdmissionRequest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq++
	r.lines = append(r.lines, Line{Arrival: time.Now(), Seq: r.seq, Scenario: r.scenario, Bytes: len(body), Review: body, Label: r.label(request)})
}

// label judges by who asks and by what the script is doing.
func (r *Recorder) label(request *admissionv1.AdmissionRequest) *Label {
	l := &Label{Step: r.step}
	l.Git.Commit = r.commit
	user := request.UserInfo.Username
	aside := slices.Contains(r.Outside, request.Namespace) || request.Kind.Kind == "Namespace" && slices.Contains(r.Outside, request.Name)
	switch {
	case request.Kind.Kind == "Event", request.Kind.Kind == "Lease", strings.HasPrefix(request.Kind.Group, "authentication."), strings.HasPrefix(request.Kind.Group, "authorization."):
		l.Class, l.Expect, l.Strict = "controller-events-leases", "allow", "allow"
	case slices.Contains(r.Agents, user):
		l.Class, l.Expect, l.Strict = "agent-apply-matches-git", "allow", "allow"
		if request.DryRun != nil && *request.DryRun {
			l.Class = "agent-dry-run"
		}
	case user == "system:serviceaccount:kube-system:horizontal-pod-autoscaler" && request.SubResource == "scale":
		l.Class = "controller-hpa-scale" // right only where Git leaves the replicas out
	case strings.HasPrefix(user, "system:serviceaccount:kube-system:"), strings.HasPrefix(user, "system:") && !strings.HasPrefix(user, "system:serviceaccount:"):
		l.Class, l.Expect, l.Strict = "controller", "allow", "allow"
		if aside {
			l.Strict = ""
		}
	default:
		l.Class = string(r.people)
		switch r.people {
		case Drift:
			l.Expect, l.Strict = "deny", "deny"
		case Aside:
			l.Expect, l.Strict = "allow", "deny"
		case AsGit:
			l.Expect, l.Strict = "allow", "allow"
		}
	}
	return l
}
