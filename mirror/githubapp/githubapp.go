// Package githubapp proves to GitHub that we are an installation of a GitHub App, and gets tokens for it: with them a repository is read without
// anybody's own account. It trusts the TLS of the API, sends the App's key nowhere, and keeps tokens in memory only.
package githubapp

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Username goes with a token where a Git host asks for a user name and a password.
const Username = "x-access-token"

const (
	defaultAPI = "https://api.github.com"
	// proofLasts is how long a proof of being the App holds; GitHub takes ten minutes at most. It begins early, for clocks that differ.
	proofLasts, proofEarly = 9 * time.Minute, time.Minute
	// renewBefore is how long before its end a token is not used any more: a fetch must end before it.
	renewBefore = 5 * time.Minute
	requestTime = 15 * time.Second
	maxAnswer   = 1 << 20
)

// ErrRefused is returned when GitHub does not give a token. The error says with which status.
var ErrRefused = errors.New("GitHub gives no token")

// Config says who we are.
type Config struct {
	// AppID is the App's ID or client ID, InstallationID that of its installation for the repository.
	AppID, InstallationID string
	// PrivateKey of the App, PEM (PKCS #1 or #8).
	PrivateKey []byte
	// API is the URL of the API: https://api.github.com if it is "", https://HOST/api/v3 of a GitHub Enterprise Server.
	API string
	// CA are the authorities that the API's certificate must chain to, PEM; the system's if it is nil.
	CA []byte
	// Now is the clock.
	Now func() time.Time
}

// App is an installation of a GitHub App. It is safe for concurrent use.
type App struct {
	cfg      Config
	key      *rsa.PrivateKey
	endpoint string
	client   *http.Client

	mu    sync.Mutex // guards what follows; held while a token is fetched, so that one is
	token string
	ends  time.Time
}

// New checks who we are, without asking anybody.
func New(cfg Config) (*App, error) {
	a := &App{cfg: cfg}
	var errs []error
	for name, value := range map[string]string{"app ID": cfg.AppID, "installation ID": cfg.InstallationID} {
		if value == "" || strings.ContainsAny(value, "/?# \r\n") {
			errs = append(errs, fmt.Errorf("GitHub App: the %s is missing or none", name))
		}
	}
	var err error
	if a.key, err = parseKey(cfg.PrivateKey); err != nil {
		errs = append(errs, err)
	}
	api := cfg.API
	if api == "" {
		api = defaultAPI
	}
	if u, err := url.Parse(api); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		errs = append(errs, errors.New("GitHub App: the API has no https URL"))
	}
	a.endpoint = strings.TrimSuffix(api, "/") + "/app/installations/" + cfg.InstallationID + "/access_tokens"
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12}
	if cfg.CA != nil {
		tlsConfig.RootCAs = x509.NewCertPool()
		if !tlsConfig.RootCAs.AppendCertsFromPEM(cfg.CA) {
			errs = append(errs, errors.New("GitHub App: no certificate in the authorities"))
		}
	}
	a.client = &http.Client{
		Transport: &http.Transport{TLSClientConfig: tlsConfig, Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true},
		// Whoever answers elsewhere would be shown the proof.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return a, errors.Join(errs...)
}

// parseKey reads a private key. Its errors quote nothing of it.
func parseKey(data []byte) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("GitHub App: the private key is no PEM")
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if rsaKey, ok := key.(*rsa.PrivateKey); ok && err == nil {
		return rsaKey, nil
	}
	return nil, errors.New("GitHub App: the private key is no RSA key")
}

// Token returns a token of the installation that is good for a while: the last one, or a new one.
func (a *App) Token(ctx context.Context) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.token != "" && a.cfg.Now().Before(a.ends.Add(-renewBefore)) {
		return a.token, nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	token, ends, err := a.fetch(ctx)
	if err != nil {
		return "", err
	}
	a.token, a.ends = token, ends
	return token, nil
}

// fetch asks GitHub for a token (REST API, "Create an installation access token for an app").
func (a *App) fetch(ctx context.Context) (token string, ends time.Time, err error) {
	proof, err := a.proof()
	if err != nil {
		return "", ends, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, a.endpoint, nil)
	if err != nil {
		return "", ends, err
	}
	request.Header.Set("Authorization", "Bearer "+proof)
	request.Header.Set("Accept", "application/vnd.github+json")
	request.Header.Set("X-GitHub-Api-Version", "2022-11-28")
	request.Header.Set("User-Agent", "commitgate")
	response, err := a.client.Do(request)
	if err != nil {
		return "", ends, fmt.Errorf("GitHub App: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusCreated {
		return "", ends, fmt.Errorf("%w: %s", ErrRefused, hint(response.StatusCode))
	}
	var answer struct {
		Token     string    `json:"token"`
		ExpiresAt time.Time `json:"expires_at"`
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return "", ends, fmt.Errorf("GitHub App: %w", err)
	}
	if json.Unmarshal(body, &answer) != nil || answer.Token == "" || strings.ContainsAny(answer.Token, "\r\n") || answer.ExpiresAt.IsZero() {
		return "", ends, fmt.Errorf("%w: its answer holds none", ErrRefused) // which is not quoted: it may hold one
	}
	return answer.Token, answer.ExpiresAt, nil
}

// hint says what a status usually means here.
func hint(status int) string {
	text := fmt.Sprintf("%d %s", status, http.StatusText(status))
	switch status {
	case http.StatusUnauthorized:
		return text + ": is the key the App's, and the clock right?"
	case http.StatusNotFound:
		return text + ": has the App this installation?"
	case http.StatusForbidden:
		return text + ": is the installation suspended?"
	}
	return text
}

// proof is a JSON Web Token (RFC 7519, RS256) that says we are the App.
func (a *App) proof() (string, error) {
	now := a.cfg.Now()
	claims, err := json.Marshal(map[string]any{"iat": now.Add(-proofEarly).Unix(), "exp": now.Add(proofLasts - proofEarly).Unix(), "iss": a.cfg.AppID})
	if err != nil {
		return "", err
	}
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + encode(claims)
	digest := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, a.key, crypto.SHA256, digest[:])
	if err != nil {
		return "", errors.New("GitHub App: the private key cannot sign")
	}
	return text + "." + encode(signature), nil
}
