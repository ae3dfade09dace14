// Package status is what a gate says of itself: one document, served on the probe address and read by the tools that ask how an installation is.
// It holds names, commits, counts and times, and never a secret, a token or a value of an object. Nothing is decided by it.
package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/watchdog"
)

// Path is where a gate serves its Report.
const Path = "/status"

// maxReport bounds what is read of somebody else's answer.
const maxReport = 8 << 20

// Report is what one replica says of itself at one moment.
type Report struct {
	// Replica is its host name, which is the pod's.
	Replica string    `json:"replica"`
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	// Now is the replica's own clock.
	Now time.Time `json:"now"`
	// Ready: it can answer from knowledge. Checks are what that takes, as in /readyz.
	Ready  bool    `json:"ready"`
	Checks []Check `json:"checks"`

	Name    string         `json:"name"` // of the Gate
	Cluster string         `json:"cluster,omitempty"`
	Mode    v1alpha1.Mode  `json:"mode"`
	Scope   v1alpha1.Scope `json:"scope"`
	Agents  []Agent        `json:"agents"`

	Repositories []Repository `json:"repositories"`
	// Objects are those that Git declares.
	Objects int `json:"objects"`
	// Unfollowed is how much an agent is asked for that cannot be rendered, so that what it brings is not declared.
	Unfollowed int `json:"unfollowed"`
	// Unlisted are the users that an object in Git has an agent act as and that the agent's entry does not list: a sentence for each, with place and remedy.
	Unlisted []string `json:"unlisted,omitempty"`

	Grants []Grant `json:"grants"`
	// Exemptions is how many there are; Ending are those that ended or end soon.
	Exemptions int         `json:"exemptions"`
	Ending     []Exemption `json:"ending"`

	Audit Audit `json:"audit"`
	// Scan is the last one of this replica; nil: it made none.
	Scan *Scan `json:"scan,omitempty"`
	// Registration is nil if nobody watches it.
	Registration *watchdog.Status `json:"registration,omitempty"`
	Certificates []Certificate    `json:"certificates"`
	// Needs are the rights that its configured features take.
	Needs []Need `json:"needs"`
	// Invalid says why a changed configuration is not gone by; "" if it is.
	Invalid string `json:"invalid,omitempty"`
	// Serving is the certificate that the API server is shown, in PEM.
	Serving string `json:"serving,omitempty"`
}

// Check is something that must hold before the gate can answer from knowledge.
type Check struct {
	Name string `json:"name"`
	// Missing says what is missing, "" if nothing is.
	Missing string `json:"missing,omitempty"`
}

// Agent is a configured sync agent.
type Agent struct {
	Name   string          `json:"name"`
	Preset v1alpha1.Preset `json:"preset,omitempty"`
	Users  []string        `json:"users"`
	// Seen is when this replica last judged a request of it, nil if never since it started.
	Seen *time.Time `json:"seen,omitempty"`
}

// Repository is a trusted repository.
type Repository struct {
	Name   string `json:"name"`
	Branch string `json:"branch"`
	// Commit is the truth, Signers whose signatures made it so, Committed what the commit says of its time, which proves nothing.
	Commit    git.ID     `json:"commit,omitempty"`
	Signers   []string   `json:"signers"`
	Committed *time.Time `json:"committed,omitempty"`
	// Head is the tip that was last fetched, Heard when the host last answered.
	Head  git.ID     `json:"head,omitempty"`
	Heard *time.Time `json:"heard,omitempty"`
	// IntervalSeconds is how often it is fetched without being told to.
	IntervalSeconds int64  `json:"intervalSeconds"`
	FetchError      string `json:"fetchError,omitempty"`
	// Refused says at which stage and why what was fetched is not the truth.
	Refused string `json:"refused,omitempty"`
}

// Grant is a break-glass grant.
type Grant struct {
	Name    string    `json:"name"`
	State   string    `json:"state"`
	Expires time.Time `json:"expires"`
	Uses    int       `json:"uses"`
}

// Exemption is one that ended or ends soon.
type Exemption struct {
	Name    string    `json:"name"`
	Expires time.Time `json:"expires"`
	Ended   bool      `json:"ended"`
}

// Audit is how the audit log of a replica is.
type Audit struct {
	Log     string `json:"log"`     // its origin
	Records uint64 `json:"records"` // the number of the last durable one
	// Sealed is how many are under the last signed checkpoint of the current shard.
	Sealed int64 `json:"sealed"`
	// Written is when the last record was put in order.
	Written    *time.Time `json:"written,omitempty"`
	FreeBytes  uint64     `json:"freeBytes"`
	TotalBytes uint64     `json:"totalBytes"`
	LowSpace   bool       `json:"lowSpace"`
	// Error is why nothing can be written.
	Error string `json:"error,omitempty"`
}

// Scan is what the last scan found.
type Scan struct {
	Ended  time.Time      `json:"ended"`
	States map[string]int `json:"states"`
	// Unread is how many kinds could not be listed.
	Unread int `json:"unread"`
}

// Certificate is one that the gate uses.
type Certificate struct {
	Name string    `json:"name"` // serving, authority, client_authority
	Ends time.Time `json:"ends"`
}

// Attention lists what somebody should look at, in sentences; empty if nothing. soon is how near an end must be.
func (r *Report) Attention(soon time.Duration) []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, c := range r.Checks {
		if c.Missing != "" {
			say("%s: %s", c.Name, c.Missing)
		}
	}
	for _, repository := range r.Repositories {
		if repository.Refused != "" && repository.Commit != "" {
			say("repository %s: its tip is not accepted: %s", repository.Name, repository.Refused)
		}
		if repository.FetchError != "" && repository.Commit != "" {
			say("repository %s: cannot be fetched: %s", repository.Name, repository.FetchError)
		}
	}
	for _, u := range r.Unlisted {
		say("agents: %s", u)
	}
	if r.Registration != nil && !r.Registration.Looked.IsZero() && !r.Registration.Sound() {
		if r.Registration.Error != "" {
			say("registration: cannot be read: %s", r.Registration.Error)
		}
		for _, o := range r.Registration.Objects {
			if o.State != watchdog.Sound {
				say("registration: %s %s is %s%s", o.Kind, o.Name, o.State, parenthesis(o.Fields))
			}
		}
	}
	for _, e := range r.Ending {
		say("exemption %s: %s %s", e.Name, map[bool]string{true: "ended", false: "ends"}[e.Ended], e.Expires.Format(time.DateOnly))
	}
	if r.Audit.LowSpace {
		say("audit log: the disk is nearly full: when it is, every change is refused")
	}
	for _, c := range r.Certificates {
		// The serving certificate of the own authority lives two days and renews itself: an end counts when renewal is overdue.
		if left := c.Ends.Sub(r.Now); left < soon && (c.Name != "serving" || left < servingSoon) {
			say("certificate %s: ends %s", c.Name, c.Ends.Format(time.DateTime))
		}
	}
	return out
}

// servingSoon is what is left of a serving certificate when it should have been renewed long ago.
const servingSoon = 6 * time.Hour

func parenthesis(fields []string) string {
	const shown = 3
	if len(fields) == 0 {
		return ""
	}
	text := fmt.Sprint(fields[:min(len(fields), shown)])
	if len(fields) > shown {
		text += fmt.Sprintf(" and %d more", len(fields)-shown)
	}
	return " " + text
}

// Handler serves what report returns.
func Handler(report func() *Report) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		_ = encoder.Encode(report()) // the other side hung up
	})
}

// Fetch asks the probe address of a gate, such as http://127.0.0.1:8080.
func Fetch(ctx context.Context, client *http.Client, address string) (*Report, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address+Path, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", address+Path, response.Status)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxReport))
	if err != nil {
		return nil, err
	}
	return Parse(text)
}

// Parse reads a Report as Handler serves it.
func Parse(text []byte) (*Report, error) {
	r := new(Report)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("the answer is no status: %w", err)
	}
	if r.Replica == "" {
		return nil, errors.New("the answer is no status: it names no replica")
	}
	slices.SortFunc(r.Repositories, func(a, b Repository) int { return strings.Compare(a.Name, b.Name) })
	return r, nil
}
