package wire

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const userAgent = "git/commitgate" // forges look for "git/" to tell a client from a browser

// headerTimeout is how long an HTTP server may think before it begins to answer; large repositories are counted first.
const headerTimeout = 60 * time.Second

func newHTTP(u *url.URL, o Options) (*Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(o.CA) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			return nil, err
		}
		if !pool.AppendCertsFromPEM(o.CA) {
			return nil, errors.New("no certificate in the CA bundle")
		}
		config.RootCAs = pool
	}
	if len(o.ClientCert) > 0 {
		cert, err := tls.X509KeyPair(o.ClientCert, o.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		config.Certificates = []tls.Certificate{cert}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = config
	transport.ResponseHeaderTimeout = headerTimeout
	client := &http.Client{Transport: transport, CheckRedirect: checkRedirect}
	base := *u
	base.Path = strings.TrimSuffix(base.Path, "/")
	return &Client{dial: func(ctx context.Context) (conversation, error) {
		c := &httpConversation{client: client, base: base}
		if o.Credentials != nil {
			var err error
			if c.credentials, err = o.Credentials(ctx); err != nil {
				return nil, fmt.Errorf("credentials: %w", err)
			}
		}
		return c, c.greet(ctx, o.MaxAdvertisement)
	}}, nil
}

// checkRedirect follows a redirect on the same host only, and never from https to http: credentials and trust are for the
// host that somebody configured.
func checkRedirect(req *http.Request, via []*http.Request) error {
	from := via[0]
	switch {
	case len(via) > 5:
		return errors.New("too many redirects")
	case req.Method != http.MethodGet:
		return errors.New("the server redirects a request for a pack")
	case req.URL.Hostname() != from.URL.Hostname() || req.URL.Scheme != from.URL.Scheme && req.URL.Scheme != "https":
		return fmt.Errorf("the server redirects to %s://%s: configure that URL if it is right", req.URL.Scheme, req.URL.Host)
	}
	return nil
}

type httpConversation struct {
	client      *http.Client
	base        url.URL
	credentials Credentials
	hello       []byte
}

func (c *httpConversation) greet(ctx context.Context, limit int64) error {
	u := c.base
	u.Path += "/info/refs"
	u.RawQuery = "service=git-upload-pack"
	res, err := c.do(ctx, http.MethodGet, &u, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	// Where the server moved us to is where the pack is.
	final := *res.Request.URL
	if path, ok := strings.CutSuffix(final.Path, "/info/refs"); ok {
		final.Path, final.RawQuery = path, ""
		c.base = final
	}
	if t := res.Header.Get("Content-Type"); t != "application/x-git-upload-pack-advertisement" {
		return fmt.Errorf("%w: content type %q (is this the URL of a repository?)", ErrProtocol, printable([]byte(t)))
	}
	if c.hello, err = io.ReadAll(io.LimitReader(res.Body, limit+1)); err != nil {
		return err
	}
	if int64(len(c.hello)) > limit {
		return fmt.Errorf("%w: advertisement of more than %d bytes", ErrProtocol, limit)
	}
	return nil
}

func (c *httpConversation) greeting() io.Reader { return bytes.NewReader(c.hello) }

func (c *httpConversation) ask(ctx context.Context, request []byte) (io.ReadCloser, error) {
	u := c.base
	u.Path += "/git-upload-pack"
	res, err := c.do(ctx, http.MethodPost, &u, request)
	if err != nil {
		return nil, err
	}
	if t := res.Header.Get("Content-Type"); t != "application/x-git-upload-pack-result" {
		res.Body.Close()
		return nil, fmt.Errorf("%w: content type %q", ErrProtocol, printable([]byte(t)))
	}
	return res.Body, nil
}

func (c *httpConversation) do(ctx context.Context, method string, u *url.URL, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Git-Protocol", "version=2")
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-git-upload-pack-request")
		req.Header.Set("Accept", "application/x-git-upload-pack-result")
	}
	switch k := c.credentials; {
	case k.Bearer != "":
		req.Header.Set("Authorization", "Bearer "+k.Bearer)
	case k.Username != "" || k.Password != "":
		req.SetBasicAuth(k.Username, k.Password)
	}
	res, err := c.client.Do(req)
	if err != nil {
		return nil, err
	}
	switch res.StatusCode {
	case http.StatusOK:
		return res, nil
	case http.StatusUnauthorized, http.StatusForbidden:
		err = ErrDenied
	case http.StatusNotFound:
		err = errors.New("no such repository, or the credentials may not see it")
	default:
		err = fmt.Errorf("HTTP status %d", res.StatusCode)
	}
	res.Body.Close()
	return nil, err
}

func (c *httpConversation) Close() error { return nil }
