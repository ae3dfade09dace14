// Package load measures what a request costs end to end: over TLS, in a process of its own, with the audit record durable before
// the answer. The baseline is a webhook that decodes the review and allows it, over the same wire. The package has no code of its own.
package load

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	_ "embed"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"

	"github.com/commitgate/commitgate/test/cluster"
	"github.com/commitgate/commitgate/test/lab"
)

// Reviews as an API server sent them, of the lab's Deployment cart: Flux puts a new image in, and Carol edits the replicas.
var (
	//go:embed testdata/agent-update.json
	agentUpdate []byte
	//go:embed testdata/human-update.json
	humanUpdate []byte
)

// noOpFile, in the environment, makes this test binary the baseline: it serves until it is killed and writes where to that file.
const noOpFile = "COMMITGATE_LOAD_NOOP"

func TestMain(m *testing.M) {
	if file := os.Getenv(noOpFile); file != "" {
		if err := serveNoOp(file); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		select {}
	}
	os.Exit(m.Run())
}

// address is where a webhook serves, and whom to trust there.
type address struct{ URL, CA string }

func serveNoOp(file string) error {
	server := httptest.NewUnstartedServer(http.HandlerFunc(allowEverything))
	server.EnableHTTP2 = true
	server.StartTLS()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	data, err := json.Marshal(address{server.URL, string(ca)})
	if err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file) // so that nobody reads half of it
}

func allowEverything(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(body, &review); err != nil || review.Request == nil {
		http.Error(w, "not a review", http.StatusBadRequest)
		return
	}
	review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
	review.Request = nil
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(&review)
}

// startNoOp starts the baseline in a process of its own, as the gate is one, and tells its id.
func startNoOp(b *testing.B) (address, int) {
	b.Helper()
	file := filepath.Join(b.TempDir(), "address")
	b.Setenv(noOpFile, file)
	self, err := os.Executable()
	check(b, err)
	p, err := cluster.Run(filepath.Join(b.TempDir(), "noop.log"), self)
	check(b, err)
	check(b, os.Unsetenv(noOpFile))
	b.Cleanup(func() { check(b, p.Kill()) })
	for {
		data, err := os.ReadFile(file)
		if err == nil {
			var a address
			check(b, json.Unmarshal(data, &a))
			return a, p.Pid()
		}
		check(b, p.Ended())
		time.Sleep(10 * time.Millisecond)
	}
}

// startGate starts the gate on a repository that declares what the reviews hold.
func startGate(b *testing.B) (address, int) {
	b.Helper()
	l, err := lab.Start(context.Background(), lab.Config{Dir: b.TempDir(), WithoutCluster: true})
	check(b, err)
	b.Cleanup(func() { check(b, l.Stop()) })
	url, ca, err := l.Gate.Address()
	check(b, err)
	return address{url, string(ca)}, l.Gate.Pid()
}

// processorTime is what a process has taken of the machine's processors so far; 0 where that is not to be had (proc_pid_stat(5)).
func processorTime(b *testing.B, pid int) time.Duration {
	b.Helper()
	const tick = 10 * time.Millisecond // USER_HZ, which is 100 everywhere
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])) // from the third on: the second is a name with spaces
	user, err := strconv.Atoi(fields[14-3])
	check(b, err)
	system, err := strconv.Atoi(fields[15-3])
	check(b, err)
	return time.Duration(user+system) * tick
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// caller sends reviews as an API server does: HTTP/2 over TLS, connections kept.
type caller struct {
	client *http.Client
	url    string
	server int // the process that answers
}

func newCaller(b *testing.B, a address, server int) *caller {
	b.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(a.CA)) {
		b.Fatal("no certificate")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 64}
	b.Cleanup(transport.CloseIdleConnections)
	return &caller{client: &http.Client{Transport: transport}, url: a.URL, server: server}
}

// ask sends one review and checks the verdict.
func (c *caller) ask(review []byte, allowed bool) error {
	response, err := c.client.Post(c.url+"?timeout=5s", "application/json", bytes.NewReader(review))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var answer admissionv1.AdmissionReview
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Response == nil || answer.Response.Allowed != allowed {
		return fmt.Errorf("answer %+v, want allowed %t", answer.Response, allowed)
	}
	return nil
}

// measure runs the benchmark's requests from n callers and returns the median and the 99th percentile of their latencies.
func measure(b *testing.B, c *caller, n int, review []byte, allowed bool) (p50, p99 time.Duration) {
	b.Helper()
	check(b, c.ask(review, allowed)) // connects
	var mu sync.Mutex
	var all []time.Duration
	var failed atomic.Pointer[error]
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ResetTimer()
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			var mine []time.Duration
			for left.Add(-1) >= 0 {
				began := time.Now()
				if err := c.ask(review, allowed); err != nil {
					failed.Store(&err)
					return
				}
				mine = append(mine, time.Since(began))
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, mine...)
		})
	}
	wg.Wait()
	b.StopTimer()
	if err := failed.Load(); err != nil {
		b.Fatal(*err)
	}
	slices.Sort(all)
	return all[len(all)/2], all[len(all)*99/100]
}

// BenchmarkReview compares the gate with the baseline for one and for sixteen callers. The metrics p50-x, p99-x and cpu-x are multiples of the
// baseline in the same run: only those can be compared between machines, and on a machine with other things to do, only cpu-x, the processor
// time of the serving process for each request.
func BenchmarkReview(b *testing.B) {
	a, pid := startNoOp(b)
	noOp := newCaller(b, a, pid)
	a, pid = startGate(b)
	gate := newCaller(b, a, pid)
	for _, callers := range []int{1, 16} {
		var base50, base99, baseCPU time.Duration
		for _, load := range []struct {
			name    string
			to      *caller
			review  []byte
			allowed bool
		}{
			{"no-op", noOp, agentUpdate, true},
			{"agent-allowed", gate, agentUpdate, true},
			{"human-refused", gate, humanUpdate, false},
		} {
			b.Run(fmt.Sprintf("%s/callers=%d", load.name, callers), func(b *testing.B) {
				before := processorTime(b, load.to.server)
				p50, p99 := measure(b, load.to, callers, load.review, load.allowed)
				cpu := (processorTime(b, load.to.server) - before) / time.Duration(b.N)
				if load.to == noOp {
					base50, base99, baseCPU = p50, p99, cpu
				}
				b.ReportMetric(float64(cpu.Nanoseconds())/1000, "cpu-µs")
				b.ReportMetric(float64(p50.Microseconds()), "p50-µs")
				b.ReportMetric(float64(p99.Microseconds()), "p99-µs")
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
				if base50 > 0 {
					b.ReportMetric(float64(p50)/float64(base50), "p50-x")
					b.ReportMetric(float64(p99)/float64(base99), "p99-x")
				}
				if baseCPU > 0 {
					b.ReportMetric(float64(cpu)/float64(baseCPU), "cpu-x")
				}
			})
		}
	}
}
