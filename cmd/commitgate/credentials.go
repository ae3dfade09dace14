package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/mirror"
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
	o.Credentials = func(context.Context) (wire.Credentials, error) { return readCredentials(dir) }
	if _, err := readCredentials(dir); err != nil {
		errs = append(errs, err)
	}
	return o, errors.Join(errs...)
}

func readCredentials(dir string) (wire.Credentials, error) {
	var errs []error
	text := func(name string) string {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		return strings.TrimRight(string(data), "\r\n")
	}
	c := wire.Credentials{Username: text("username"), Bearer: text("bearerToken")}
	if key := text("identity"); key != "" {
		c.Key, c.Passphrase = []byte(key+"\n"), []byte(text("password"))
	} else {
		c.Password = text("password")
	}
	return c, errors.Join(errs...)
}
