// Package hook takes the push hooks of Git hosts: GitHub, GitLab, Gitea and Forgejo, Bitbucket Cloud and Data Center.
//
// A hook is a hint that there may be something to fetch, and nothing else: no word of it is believed but its
// signature or token, which keeps strangers from making the gate fetch. Who has the secret can at most make the gate look more often
// than its interval, and not more often than the tracker's spacing.
package hook

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// maxBody bounds a payload. Hosts cut the list of commits of a large push, so that payloads stay below.
const maxBody = 8 << 20

// Handler answers hooks. Without a secret every hook is refused.
type Handler struct {
	// Secrets are asked for at each hook, so that they can be rotated: any of them will do.
	Secrets func() [][]byte
	// Branches are those that matter, without refs/heads/. A push to others is no hint.
	Branches []string
	// Hint is called when there may be something to fetch. It must not block.
	Hint func()
	Log  *slog.Logger
}

// host is a Git host's way to sign and to tell.
type host struct {
	name string
	// event is the header that says what happened; pushes are its values for pushes.
	event  string
	pushes []string
	// authentic tells whether somebody with the secret sent the body.
	authentic func(h http.Header, body, secret []byte) bool
	// refs reads what was pushed.
	refs func(body []byte) ([]string, error)
}

// hosts in the order in which they are recognized: Gitea and Forgejo also send GitHub's headers.
func hosts() []host {
	return []host{
		{"Gitea", "X-Gitea-Event", []string{"push"}, signedBy("X-Gitea-Signature", ""), refField},
		{"GitHub", "X-Github-Event", []string{"push"}, signedBy("X-Hub-Signature-256", "sha256="), refField},
		{"GitLab", "X-Gitlab-Event", []string{"Push Hook", "System Hook"}, token("X-Gitlab-Token"), refField},
		{"Bitbucket", "X-Event-Key", []string{"repo:push", "repo:refs_changed"}, signedBy("X-Hub-Signature", "sha256="), bitbucketRefs},
	}
}

// ServeHTTP answers 204 to a hint that was taken, 202 to what does not matter here, 401 to a stranger.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		http.Error(w, "want POST", http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			http.Error(w, "payload too large", http.StatusRequestEntityTooLarge)
			return
		}
		http.Error(w, "cannot read the payload", http.StatusBadRequest)
		return
	}
	all := hosts()
	i := slices.IndexFunc(all, func(c host) bool { return r.Header.Get(c.event) != "" })
	if i < 0 {
		http.Error(w, "not a hook of GitHub, GitLab, Gitea, Forgejo or Bitbucket", http.StatusBadRequest)
		return
	}
	from := all[i]
	if !slices.ContainsFunc(h.Secrets(), func(secret []byte) bool { return len(secret) > 0 && from.authentic(r.Header, body, secret) }) {
		h.Log.Warn("push hook refused: signature or token does not match", "host", from.name)
		http.Error(w, "signature or token does not match", http.StatusUnauthorized)
		return
	}
	if !slices.Contains(from.pushes, r.Header.Get(from.event)) { // a ping, or something that was subscribed to by mistake
		w.WriteHeader(http.StatusAccepted)
		return
	}
	refs, err := from.refs(payload(r.Header, body))
	if err != nil {
		http.Error(w, "malformed payload", http.StatusBadRequest)
		return
	}
	if !slices.ContainsFunc(refs, h.matters) {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	h.Hint()
	w.WriteHeader(http.StatusNoContent)
}

func (h *Handler) matters(ref string) bool {
	branch, ok := strings.CutPrefix(ref, "refs/heads/")
	return ok && slices.Contains(h.Branches, branch)
}

// signedBy is an HMAC-SHA256 of the body, in hexadecimal behind a prefix.
func signedBy(header, prefix string) func(http.Header, []byte, []byte) bool {
	return func(h http.Header, body, secret []byte) bool {
		digits, ok := strings.CutPrefix(h.Get(header), prefix)
		given, err := hex.DecodeString(digits)
		if !ok || err != nil {
			return false
		}
		mac := hmac.New(sha256.New, secret)
		mac.Write(body)
		return hmac.Equal(given, mac.Sum(nil))
	}
}

// token is the secret itself. Its hash is compared, so that the time tells nothing about its length either.
func token(header string) func(http.Header, []byte, []byte) bool {
	return func(h http.Header, _, secret []byte) bool {
		given, want := sha256.Sum256([]byte(h.Get(header))), sha256.Sum256(secret)
		return subtle.ConstantTimeCompare(given[:], want[:]) == 1
	}
}

// payload is the JSON of a hook; GitHub and Gitea can send it as a form field. The signature covers the body as it is sent.
func payload(h http.Header, body []byte) []byte {
	if t, _, err := mime.ParseMediaType(h.Get("Content-Type")); err != nil || t != "application/x-www-form-urlencoded" {
		return body
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil
	}
	return []byte(form.Get("payload"))
}

// refField is how GitHub, GitLab and Gitea tell: one ref.
func refField(body []byte) ([]string, error) {
	var p struct {
		Ref string `json:"ref"`
	}
	err := json.Unmarshal(body, &p)
	return []string{p.Ref}, err
}

// bitbucketRefs reads both of Bitbucket's payloads: Cloud names the new state of a branch, Data Center the ref.
func bitbucketRefs(body []byte) ([]string, error) {
	type change struct {
		New *struct {
			Type, Name string
		} `json:"new"`
		Ref *struct {
			ID string `json:"id"`
		} `json:"ref"`
	}
	var p struct {
		Push struct {
			Changes []change `json:"changes"`
		} `json:"push"`
		Changes []change `json:"changes"`
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return nil, err
	}
	var refs []string
	for _, c := range slices.Concat(p.Push.Changes, p.Changes) {
		switch {
		case c.Ref != nil:
			refs = append(refs, c.Ref.ID)
		case c.New != nil && c.New.Type == "branch":
			refs = append(refs, "refs/heads/"+c.New.Name)
		}
	}
	return refs, nil
}
