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

// startGate starts the gate on a repository that declares what the reviews hold. Its log is in dir.
func startGate(b *testing.B, dir string) (address, int) {
	b.Helper()
	l, err := lab.Start(context.Background(), lab.Config{Dir: dir, WithoutCluster: true})
	check(b, err)
	b.Cleanup(func() { check(b, l.Stop()) })
	url, ca, err := l.Gate.Address()
	check(b, err)
	return address{url, string(ca)}, l.Gate.Pid()
}

// memory is a folder that is in memory, where the system has such a place.
func memory(b *testing.B) string {
	b.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "commitgate-load")
	if err != nil {
		return b.TempDir()
	}
	b.Cleanup(func() { check(b, os.RemoveAll(dir)) })
	return dir
}

// commit is the median time in which the disk of dir makes a batch of records durable.
func commit(b *testing.B, dir string) time.Duration {
	b.Helper()
	f, err := os.Create(filepath.Join(dir, "commit"))
	check(b, err)
	defer f.Close()
	batch := bytes.Repeat([]byte("a record\n"), 16*2048/9)
	times := make([]time.Duration, 100)
	for i := range times {
		began := time.Now()
		_, err := f.Write(batch)
		check(b, err)
		check(b, f.Sync())
		times[i] = time.Since(began)
	}
	slices.Sort(times)
	return times[len(times)/2]
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

// The protocols that API servers speak to webhooks: HTTP/1.1 to those behind a Service or an address elsewhere, so that requests spread over the
// replicas (kubernetes/kubernetes#75791), HTTP/2 to those that a URL names on the same machine.
const (
	http1 = "http1.1"
	http2 = "http2"
)

// caller sends reviews as an API server does: over TLS, connections kept.
type caller struct {
	client *http.Client
	url    string
	server int // the process that answers
}

func newCaller(b *testing.B, a address, server int, protocol string) *caller {
	b.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(a.CA)) {
		b.Fatal("no certificate")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: protocol == http2, MaxIdleConnsPerHost: 64}
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

// cost is what requests cost.
type cost struct {
	p50, p99  time.Duration // of the latencies
	perSecond float64
	cpu       time.Duration // of the serving process, for each request
}

// measure sends the benchmark's requests from n callers.
func measure(b *testing.B, c *caller, n int, review []byte, allowed bool) cost {
	b.Helper()
	check(b, c.ask(review, allowed)) // connects
	before := processorTime(b, c.server)
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
	return cost{
		p50: all[len(all)/2], p99: all[len(all)*99/100], perSecond: float64(b.N) / b.Elapsed().Seconds(),
		cpu: (processorTime(b, c.server) - before) / time.Duration(b.N),
	}
}

// report writes a cost down, and its multiples of that of the baseline.
func (c cost) report(b *testing.B, base cost) {
	b.Helper()
	b.ReportMetric(float64(c.cpu.Nanoseconds())/1000, "cpu-µs")
	b.ReportMetric(float64(c.p50.Microseconds()), "p50-µs")
	b.ReportMetric(float64(c.p99.Microseconds()), "p99-µs")
	b.ReportMetric(c.perSecond, "requests/s")
	if base.p50 > 0 {
		b.ReportMetric(float64(c.p50)/float64(base.p50), "p50-x")
		b.ReportMetric(float64(c.p99)/float64(base.p99), "p99-x")
		b.ReportMetric(c.perSecond/base.perSecond, "requests-x")
	}
	if base.cpu > 0 {
		b.ReportMetric(float64(c.cpu)/float64(base.cpu), "cpu-x")
	}
}

// BenchmarkReview compares the gate with the baseline for one and for sixteen callers, its log in memory and on the disk of TMPDIR. The metrics
// p50-x, p99-x, requests-x and cpu-x are multiples of the baseline in the same run: only those can be compared between machines, and on a machine
// with other things to do, only cpu-x, the processor time of the serving process for each request. commits is by how many times of what the disk
// takes to make a batch durable the median is longer than the baseline's.
func BenchmarkReview(b *testing.B) {
	type server struct {
		address
		pid int
	}
	start := func(a address, pid int) server { return server{a, pid} }
	noOp, inMemory := start(startNoOp(b)), start(startGate(b, memory(b)))
	disk := b.TempDir()
	onDisk, oneCommit := start(startGate(b, disk)), commit(b, disk)
	for _, protocol := range []string{http1, http2} {
		for _, callers := range []int{1, 16} {
			var base cost
			for _, load := range []struct {
				name    string
				to      server
				review  []byte
				allowed bool
			}{
				{"no-op", noOp, agentUpdate, true},
				{"agent-allowed", inMemory, agentUpdate, true},
				{"human-refused", inMemory, humanUpdate, false},
				{"agent-allowed-durable", onDisk, agentUpdate, true},
			} {
				b.Run(fmt.Sprintf("%s/%s/callers=%d", load.name, protocol, callers), func(b *testing.B) {
					to := newCaller(b, load.to.address, load.to.pid, protocol)
					c := measure(b, to, callers, load.review, load.allowed)
					if load.to == noOp {
						base = c
					}
					c.report(b, base)
					if load.to == onDisk {
						b.ReportMetric(float64(c.p50-base.p50)/float64(oneCommit), "commits")
					}
				})
			}
		}
	}
}
