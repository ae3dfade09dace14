package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/snapshot"
	"github.com/commitgate/commitgate/track"
)

// truthFlags say which truth a tool goes by.
type truthFlags struct {
	config       string
	repositories map[string]string
	revisions    map[string]string
	data         string
	keys         string
}

func (f *truthFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.config, "config", "", "file or folder with the Gate and its TrustedRepositories (required)")
	flags.StringToStringVar(&f.repositories, "repository", nil, "NAME=PATH: work tree, bare repository or bundle to read a trusted repository from (default this work tree, if there is one repository)")
	flags.StringToStringVar(&f.revisions, "revision", nil, "NAME=REV: commit, branch or tag of it to take for the truth (default the protected branch)")
	flags.StringVar(&f.data, "data", "", "folder of a gate on this machine: read the repositories from its mirrors")
	flags.StringVar(&f.keys, "decryption-keys", "", "folder with *.agekey and *.asc files that open what SOPS encrypted (default that of the configuration, if it is on this machine)")
}

// load reads the configuration and where the repositories are.
func (f *truthFlags) load() (*v1alpha1.Config, track.AtConfig, error) {
	var at track.AtConfig
	if f.config == "" {
		return nil, at, usage("--config is required: the file that the gate serves with")
	}
	cfg, err := v1alpha1.Load(f.config)
	if err != nil {
		return nil, at, usage("configuration:\n%w", err)
	}
	at = track.AtConfig{Gate: cfg.Gate.Spec, Repositories: cfg.Repositories, Paths: make(map[string]string), Revisions: f.revisions, Engine: newEngine(0)}
	if at.Decryption, err = toolDecryption(&cfg.Gate.Spec, f.keys); err != nil {
		return nil, at, usage("%w", err)
	}
	for _, r := range cfg.Repositories {
		switch path := f.repositories[r.Name]; {
		case path != "":
			at.Paths[r.Name] = path
		case f.data != "":
			at.Paths[r.Name] = filepath.Join(f.data, "track", "mirrors", r.Name)
		case len(cfg.Repositories) == 1 && !filepath.IsAbs(r.Spec.URL):
			at.Paths[r.Name] = workTree()
		}
	}
	for name := range f.repositories {
		if cfg.Repository(name) == nil {
			return nil, at, usage("--repository %s: the configuration has no TrustedRepository of this name", name)
		}
	}
	return cfg, at, nil
}

// truth is what the gate would believe at the chosen revisions, with definitions of kinds that Git does not hold, if somebody has them. What it would
// refuse is a "no".
func (f *truthFlags) truth(ctx context.Context, definitions func(context.Context) ([]map[string]any, error)) (*v1alpha1.Config, *snapshot.Truth, error) {
	cfg, at, err := f.load()
	if err != nil {
		return nil, nil, err
	}
	if definitions != nil {
		if at.CRDs, err = definitions(ctx); err != nil {
			return nil, nil, unknown(err)
		}
	}
	truth, err := track.At(ctx, at)
	if err != nil {
		return nil, nil, notTrue(err)
	}
	return cfg, truth, nil
}

// notTrue tells a revision that is refused from one that could not be judged.
func notTrue(err error) error {
	var r *track.Refusal
	if errors.As(err, &r) {
		return exit{exitNo, err}
	}
	return unknown(err)
}

// workTree is the work tree around the current folder, "" if there is none.
func workTree() string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, ".git")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			return ""
		}
		dir = up
	}
}
