package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/commitgate/commitgate/authority"
	"github.com/commitgate/commitgate/guard"
)

// staticTrust is the caBundle of the static manifests of a folder, and how it is replaced: the file changes whole, or not at all, and only if it is as
// commitgate static or an earlier run wrote it, so that nothing that somebody added by hand is lost.
func staticTrust(dir string) ([]byte, func([]byte) error, error) {
	file := filepath.Join(dir, filepath.FromSlash(guard.WebhooksFile))
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	manifests, err := guard.Read(text)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(manifests.Webhooks) != 1 {
		return nil, nil, fmt.Errorf("%s: want one ValidatingWebhookConfiguration, not %d", file, len(manifests.Webhooks))
	}
	if same, err := manifests.YAML(); err != nil || !bytes.Equal(same, text) {
		return nil, nil, fmt.Errorf("%s is not as commitgate static writes it, and would lose what was added: write it anew, and put that into a file of its own", file)
	}
	trusted, err := trustedBy(manifests.Webhooks[0])
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", file, err)
	}
	return trusted, func(bundle []byte) error {
		if certs, err := authority.Certificates(bundle); err != nil || len(certs) == 0 {
			return errors.Join(fmt.Errorf("%s is left as it is: no authority to trust", file), err)
		}
		for i := range manifests.Webhooks[0].Webhooks {
			manifests.Webhooks[0].Webhooks[i].ClientConfig.CABundle = bundle
		}
		next, err := manifests.YAML()
		if err != nil {
			return err
		}
		return replaceFile(dir, file, next)
	}, nil
}

// replaceFile puts a file in the place of another in one step that outlasts a crash. It is written in a folder beside, where the API server does not look.
func replaceFile(beside, file string, text []byte) error {
	was, err := os.Stat(file)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(beside, ".webhooks-*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // once renamed it is not there
	_, err = f.Write(text)
	if err := errors.Join(err, f.Chmod(was.Mode().Perm()), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), file); err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// lastWritten is when a Secret was last changed, as the API server noted it; now, if it noted nothing.
func lastWritten(secret *corev1.Secret, now time.Time) time.Time {
	var last time.Time
	for _, f := range secret.ManagedFields {
		if f.Time != nil && f.Time.After(last) {
			last = f.Time.Time
		}
	}
	if last.IsZero() {
		return now
	}
	return last
}
