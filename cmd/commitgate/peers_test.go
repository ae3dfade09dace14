package main

import (
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What an operator of an installation does: the replicas start without knowing each other and make their keys, which stay where they are; what they print
// becomes one folder for all, and after a restart each log is cosigned by every other replica.
func TestReplicasFindTheirPeersInOneFolder(t *testing.T) {
	home := t.TempDir()
	folder := filepath.Join(home, "peers")
	names := make([]string, 3)
	listeners := make([]net.Listener, 3)
	for i := range names {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		names[i], listeners[i] = l.Addr().String(), l
	}
	data := func(name string) string { return filepath.Join(home, "data-"+name) }
	open := func(name string) *gate {
		t.Helper()
		g, err := gateIn(t, data(name), func(o *serveOptions) {
			o.name, o.audit.peersDir, o.audit.peerURL, o.audit.peerTimeout = name, folder, "http://%s", time.Minute
		})
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	printed := map[string]string{}
	for _, name := range names {
		if err := open(name).close(); err != nil {
			t.Fatal(err)
		}
		out, status := command(t, "audit", "peer", data(name))
		if status != exitYes || strings.Count(out, "\n") != 2 || strings.Contains(out, "PRIVATE") {
			t.Fatalf("status %d:\n%s", status, out)
		}
		printed[name] = out
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, keys := range printed {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(keys), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(folder, "..2026_11_21"), 0o700); err != nil { // of a mounted ConfigMap
		t.Fatal(err)
	}
	var gates []*gate
	for i, name := range names {
		g := open(name)
		gates = append(gates, g)
		probes := httptest.NewUnstartedServer(g.probes.Handler)
		probes.Listener.Close()
		probes.Listener = listeners[i]
		probes.Start()
		defer probes.Close()
	}
	for _, g := range gates {
		if _, err := g.sealing.sealer.Seal(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for i, name := range names {
		if err := gates[i].close(); err != nil {
			t.Fatal(err)
		}
		args := []string{"audit", "verify", filepath.Join(data(name), "audit"), "--key", filepath.Join(data(name), "audit.key.pub")}
		for _, other := range names {
			args = append(args, "--key", filepath.Join(data(other), "witness.key.pub"))
		}
		out, status := command(t, args...)
		for _, other := range names {
			if cosigned := strings.Contains(out, other+"/witness"); status != exitYes || cosigned != (other != name) {
				t.Errorf("status %d: cosigned by %s: %t:\n%s", status, other, cosigned, out)
			}
		}
	}
}

func TestPeersThatAreNone(t *testing.T) {
	for name, tt := range map[string]struct{ file, url, want string }{
		"a file without keys":             {"nothing\n", "http://%s", "holds 1 keys"},
		"an address that is no one's":     {"", "http://gate:8080", "--audit-peer-url"},
		"an address of two":               {"", "http://%s.%s", "--audit-peer-url"},
		"two lines that are no keys":      {"one\ntwo\n", "http://%s", "gate-1"},
		"an installation without any":     {"", "http://%s", ""},
		"a folder with the replica's own": {"own", "http://%s", ""},
	} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			folder := filepath.Join(home, "peers")
			if tt.file != "" {
				if err := os.Mkdir(folder, 0o700); err != nil {
					t.Fatal(err)
				}
				file := "gate-1"
				if tt.file == "own" {
					file = "gate-0"
				}
				if err := os.WriteFile(filepath.Join(folder, file), []byte(tt.file), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			g, err := gateIn(t, filepath.Join(home, "data"), func(o *serveOptions) {
				o.name, o.audit.peersDir, o.audit.peerURL = "gate-0", folder, tt.url
			})
			if tt.want == "" && err == nil {
				if err := g.close(); err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || tt.want == "" || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q in it", err, tt.want)
			}
		})
	}
}
