package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/mirror"
	"github.com/commitgate/commitgate/mirror/githubapp"
	"github.com/commitgate/commitgate/mirror/wire"
)

// mirrorOptions says how each repository is reached: with what its folder of credentials holds.
func mirrorOptions(repositories []v1alpha1.TrustedRepository) (map[string]mirror.Options, error) {
	options := map[string]mirror.Options{}
	var errs []error
	for _, r := range repositories {
		if r.Spec.Credentials == "" {
			continue
		}
		o, err := credentialsIn(r.Spec.Credentials)
		if err != nil {
			errs = append(errs, fmt.Errorf("credentials of repository %s: %w", r.Name, err))
		}
		options[r.Name] = o
	}
	return options, errors.Join(errs...)
}

// credentialsIn reads a folder of credentials, with a file for each as in the Secrets of Flux's GitRepository. Certificates and known hosts are read
// once; what proves who we are is read at each connection, so that it can be rotated.
func credentialsIn(dir string) (mirror.Options, error) {
	var o mirror.Options
	var errs []error
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		return data
	}
	if _, err := os.ReadDir(dir); err != nil {
		return o, err
	}
	o.CA, o.KnownHosts, o.ClientCert, o.ClientKey = read("ca.crt"), read("known_hosts"), read("tls.crt"), read("tls.key")
	if (o.ClientCert == nil) != (o.ClientKey == nil) {
		errs = append(errs, errors.New("tls.crt and tls.key go together"))
	}
	source := &credentialSource{dir: dir, ca: o.CA}
	o.Credentials = source.read
	if _, _, err := source.files(); err != nil {
		errs = append(errs, err)
	}
	return o, errors.Join(errs...)
}

// credentialSource reads what proves who we are.
type credentialSource struct {
	dir string
	ca  []byte // of the Git host; nil is the system's

	mu   sync.Mutex // guards app and from
	app  *githubapp.App
	from githubapp.Config // what app was made of
}

// read returns what to show the Git host now. Of a GitHub App, that is a token which its API gave.
func (s *credentialSource) read(ctx context.Context) (wire.Credentials, error) {
	c, app, err := s.files()
	if err != nil || app == nil {
		return c, err
	}
	token, err := app.Token(ctx)
	return wire.Credentials{Username: githubapp.Username, Password: token}, err
}

// files reads the folder; app is nil if it holds no GitHub App.
func (s *credentialSource) files() (c wire.Credentials, app *githubapp.App, err error) {
	var errs []error
	text := func(name string) string {
		data, err := os.ReadFile(filepath.Join(s.dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		return strings.TrimRight(string(data), "\r\n")
	}
	c = wire.Credentials{Username: text("username"), Bearer: text("bearerToken")}
	if key := text("identity"); key != "" {
		c.Key, c.Passphrase = []byte(key+"\n"), []byte(text("password"))
	} else {
		c.Password = text("password")
	}
	who := githubapp.Config{
		AppID: text("githubAppID"), InstallationID: text("githubAppInstallationID"), PrivateKey: []byte(text("githubAppPrivateKey")), API: text("githubAppBaseURL"),
		CA: s.ca, Now: time.Now,
	}
	if who.AppID == "" && who.InstallationID == "" && len(who.PrivateKey) == 0 {
		return c, nil, errors.Join(errs...)
	}
	if c.Username != "" || c.Bearer != "" || c.Password != "" || c.Key != nil {
		errs = append(errs, errors.New("a GitHub App beside other credentials: which is meant?"))
	}
	if err := errors.Join(errs...); err != nil {
		return c, nil, err
	}
	app, err = s.appOf(who)
	return wire.Credentials{}, app, err
}

// appOf keeps an App, and with it its token, while its files stay the same.
func (s *credentialSource) appOf(who githubapp.Config) (*githubapp.App, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.app != nil && s.from.AppID == who.AppID && s.from.InstallationID == who.InstallationID && s.from.API == who.API && bytes.Equal(s.from.PrivateKey, who.PrivateKey) {
		return s.app, nil
	}
	app, err := githubapp.New(who)
	if err != nil {
		return nil, err
	}
	s.app, s.from = app, who
	return app, nil
}
