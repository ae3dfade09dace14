package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/sops"
)

// newDecryption reads the keys that the configuration names; nil if it names none.
func newDecryption(d *v1alpha1.Decryption) (*manifest.Decryption, error) {
	if d == nil {
		return nil, nil
	}
	keys, err := sops.Load(d.Keys)
	if err != nil {
		return nil, fmt.Errorf("spec.decryption.keys: %w", err)
	}
	return manifest.NewDecryption(keys), nil
}

// toolDecryption is newDecryption for tools, which often run where the gate's keys are not: then they do without. A folder that is named on the
// command line must be there.
func toolDecryption(spec *v1alpha1.GateSpec, folder string) (*manifest.Decryption, error) {
	if folder != "" {
		return newDecryption(&v1alpha1.Decryption{Keys: folder})
	}
	d, err := newDecryption(spec.Decryption)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil, nil
	}
	return d, err
}
