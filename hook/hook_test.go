package hook_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/hook"
)

const secret = "It's a Secret to Everybody"

func sign(body, key string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(body))
	return hex.EncodeToString(mac.Sum(nil))
}

func send(t *testing.T, secrets []string, header map[string]string, body string) (status, hints int) {
	t.Helper()
	h := &hook.Handler{
		Secrets: func() (list [][]byte) {
			for _, s := range secrets {
				list = append(list, []byte(s))
			}
			return list
		},
		Branches: []string{"main"}, Hint: func() { hints++ }, Log: slog.New(slog.DiscardHandler),
	}
	r := httptest.NewRequest(http.MethodPost, "/hook", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	for k, v := range header {
		r.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, hints
}

// The payloads are cut down to the fields that the hosts document; the rest is not read.
func TestHooksOfEveryHost(t *testing.T) {
	push := `{"ref":"refs/heads/main","before":"0","after":"1","repository":{"full_name":"acme/shop"}}`
	cloud := `{"push":{"changes":[{"new":{"type":"branch","name":"main"},"old":null,"created":true}]}}`
	gone := `{"push":{"changes":[{"new":null,"old":{"type":"branch","name":"main"},"closed":true}]}}`
	dataCenter := `{"eventKey":"repo:refs_changed","changes":[{"ref":{"id":"refs/heads/main","displayId":"main","type":"BRANCH"},"type":"UPDATE"}]}`
	form := "payload=" + url.QueryEscape(push)
	cases := map[string]struct {
		header map[string]string
		body   string
		want   int
	}{
		"GitHub, a push":                         {map[string]string{"X-GitHub-Event": "push", "X-Hub-Signature-256": "sha256=" + sign(push, secret)}, push, 204},
		"GitHub, a push as form":                 {map[string]string{"X-GitHub-Event": "push", "X-Hub-Signature-256": "sha256=" + sign(form, secret), "Content-Type": "application/x-www-form-urlencoded"}, form, 204},
		"GitHub, a ping":                         {map[string]string{"X-GitHub-Event": "ping", "X-Hub-Signature-256": "sha256=" + sign(`{"zen":"x"}`, secret)}, `{"zen":"x"}`, 202},
		"GitHub, another branch":                 {map[string]string{"X-GitHub-Event": "push", "X-Hub-Signature-256": "sha256=" + sign(`{"ref":"refs/heads/main-2"}`, secret)}, `{"ref":"refs/heads/main-2"}`, 202},
		"GitHub, a tag main":                     {map[string]string{"X-GitHub-Event": "push", "X-Hub-Signature-256": "sha256=" + sign(`{"ref":"refs/tags/main"}`, secret)}, `{"ref":"refs/tags/main"}`, 202},
		"GitHub, no signature":                   {map[string]string{"X-GitHub-Event": "push"}, push, 401},
		"GitHub, another secret":                 {map[string]string{"X-GitHub-Event": "push", "X-Hub-Signature-256": "sha256=" + sign(push, "guess")}, push, 401},
		"GitHub, the empty one":                  {map[string]string{"X-GitHub-Event": "push", "X-Hub-Signature-256": "sha256=" + sign(push, "")}, push, 401},
		"GitHub, SHA-1 only":                     {map[string]string{"X-GitHub-Event": "push", "X-Hub-Signature": "sha1=" + sign(push, secret)}, push, 401},
		"GitHub, another body":                   {map[string]string{"X-GitHub-Event": "push", "X-Hub-Signature-256": "sha256=" + sign(push, secret)}, push + " ", 401},
		"GitHub, not JSON":                       {map[string]string{"X-GitHub-Event": "push", "X-Hub-Signature-256": "sha256=" + sign("x", secret)}, "x", 400},
		"Gitea, a push":                          {map[string]string{"X-Gitea-Event": "push", "X-Gitea-Signature": sign(push, secret), "X-GitHub-Event": "push"}, push, 204},
		"Gitea, another secret":                  {map[string]string{"X-Gitea-Event": "push", "X-Gitea-Signature": sign(push, "guess")}, push, 401},
		"GitLab, a push":                         {map[string]string{"X-Gitlab-Event": "Push Hook", "X-Gitlab-Token": secret}, push, 204},
		"GitLab, a tag":                          {map[string]string{"X-Gitlab-Event": "Tag Push Hook", "X-Gitlab-Token": secret}, push, 202},
		"GitLab, another token":                  {map[string]string{"X-Gitlab-Event": "Push Hook", "X-Gitlab-Token": secret[1:]}, push, 401},
		"GitLab, no token":                       {map[string]string{"X-Gitlab-Event": "Push Hook"}, push, 401},
		"Bitbucket Cloud, a push":                {map[string]string{"X-Event-Key": "repo:push", "X-Hub-Signature": "sha256=" + sign(cloud, secret)}, cloud, 204},
		"Bitbucket Cloud, a branch that is gone": {map[string]string{"X-Event-Key": "repo:push", "X-Hub-Signature": "sha256=" + sign(gone, secret)}, gone, 202},
		"Bitbucket Data Center, a push":          {map[string]string{"X-Event-Key": "repo:refs_changed", "X-Hub-Signature": "sha256=" + sign(dataCenter, secret)}, dataCenter, 204},
		"Bitbucket, another secret":              {map[string]string{"X-Event-Key": "repo:push", "X-Hub-Signature": "sha256=" + sign(cloud, "guess")}, cloud, 401},
		"somebody else":                          {nil, push, 400},
		"a flood":                                {map[string]string{"X-GitHub-Event": "push"}, strings.Repeat("x", 9<<20), 413},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			status, hints := send(t, []string{"", "old", secret}, c.header, c.body)
			if status != c.want || (hints == 1) != (c.want == 204) {
				t.Errorf("answered %d with %d hints, want %d", status, hints, c.want)
			}
		})
	}
}

// The example of GitHub's documentation, "Validating webhook deliveries".
func TestGitHubsOwnExample(t *testing.T) {
	header := map[string]string{"X-GitHub-Event": "ping", "X-Hub-Signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}
	if status, _ := send(t, []string{secret}, header, "Hello, World!"); status != 202 {
		t.Errorf("answered %d", status)
	}
}

func TestWithoutASecretNobodyIsBelieved(t *testing.T) {
	body := `{"ref":"refs/heads/main"}`
	header := map[string]string{"X-GitHub-Event": "push", "X-Hub-Signature-256": "sha256=" + sign(body, "")}
	for _, secrets := range [][]string{nil, {""}} {
		if status, hints := send(t, secrets, header, body); status != 401 || hints != 0 {
			t.Errorf("answered %d with %d hints", status, hints)
		}
	}
}
