// Package forge is a small Git host for tests and the demo: real repositories, made by git itself, commits that real people sign
// with real OpenPGP and SSH keys, served over smart HTTP on the loopback interface.
//
// It can go down or keep everybody waiting, and it counts what is fetched from it.
package forge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
)

// Forge is a running Git host.
type Forge struct {
	dir     string
	git     string
	server  *http.Server
	url     string
	down    atomic.Bool
	held    sync.RWMutex // written while everybody waits
	fetches atomic.Int64
	gpgHome string // "" until the first OpenPGP key
}

// New starts a forge that keeps its repositories and keys under dir. The caller must Close it.
func New(dir string) (*Forge, error) {
	git, err := exec.LookPath("git")
	if err != nil {
		return nil, fmt.Errorf("%w (Debian package: git)", err)
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	f := &Forge{dir: dir, git: git, url: "http://" + listener.Addr().String()}
	root := filepath.Join(dir, "repositories")
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	backend := &cgi.Handler{
		Path: git,
		Args: []string{"http-backend"}, // the server side of git itself
		Env: append(quiet(), "GIT_PROJECT_ROOT="+root, "GIT_HTTP_EXPORT_ALL=1",
			"HOME="+dir), // git runs its parts through HOME and PATH; cgi hands on PATH only
	}
	f.server = &http.Server{Handler: f.serve(backend)}
	go f.server.Serve(listener) // ends with Close
	return f, nil
}

// serve counts what is fetched, and plays dead or slow when told to.
func (f *Forge) serve(backend http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f.down.Load() {
			http.Error(w, "the forge is down", http.StatusServiceUnavailable)
			return
		}
		if strings.HasSuffix(r.URL.Path, "/info/refs") {
			f.fetches.Add(1)
		}
		f.held.RLock()
		defer f.held.RUnlock()
		backend.ServeHTTP(w, r)
	})
}

// Close stops the forge and the agent that holds its OpenPGP keys.
func (f *Forge) Close() error {
	err := f.server.Close()
	if f.gpgHome != "" {
		err = errors.Join(err, f.gpg(nil, "gpgconf", "--kill", "all"), os.RemoveAll(f.gpgHome))
	}
	return err
}

// URL is where the forge serves, without a slash at the end.
func (f *Forge) URL() string { return f.url }

// SetDown makes the forge answer 503 to everything, or serve again.
func (f *Forge) SetDown(down bool) { f.down.Store(down) }

// Hold keeps waiting whoever asks from now on, until release is called. It answers those first who have asked already.
func (f *Forge) Hold() (release func()) {
	f.held.Lock()
	return f.held.Unlock
}

// Fetches is how often somebody has asked what there is to fetch. Each fetch, clone and poll does that once.
func (f *Forge) Fetches() int { return int(f.fetches.Load()) }

// quiet is an environment in which git reads nobody's configuration, and leaves nothing behind that goes on working: its maintenance moves objects and
// makes files while tests read the ones and remove the folders of the others.
func quiet() []string {
	return []string{
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_CONFIG_COUNT=3", "GIT_CONFIG_KEY_0=gc.auto", "GIT_CONFIG_VALUE_0=0", "GIT_CONFIG_KEY_1=maintenance.auto", "GIT_CONFIG_VALUE_1=false",
		"GIT_CONFIG_KEY_2=receive.autogc", "GIT_CONFIG_VALUE_2=false",
		"PATH=" + os.Getenv("PATH"),
	}
}

// output runs a program and returns its standard output without the last newline; an error holds what it wrote to standard error.
func output(ctx context.Context, dir string, env []string, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env = dir, env
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", filepath.Base(program), strings.Join(args, " "), err)
	}
	return strings.TrimSuffix(string(out), "\n"), nil
}
