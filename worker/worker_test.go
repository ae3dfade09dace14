package worker_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/worker"
)

const childMode = "render-worker"

// The test's own program is the child too.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == childMode {
		os.Exit(worker.Main())
	}
	os.Exit(m.Run())
}

func newPool(t testing.TB, memory uint64) *worker.Pool {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := worker.NewPool(worker.Config{Command: self, Args: []string{self, childMode}, Memory: memory, Size: 1})
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// children are the processes that this one has started and not buried.
func children(t *testing.T) []string {
	t.Helper()
	var pids []string
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(tasks) == 0 {
		t.Skip("this system does not tell a process's children")
	}
	for _, name := range tasks {
		text, err := os.ReadFile(name)
		if err == nil {
			pids = append(pids, strings.Fields(string(text))...)
		}
	}
	return pids
}

// resident is the memory of this process that is in use, in bytes.
func resident(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("this system does not tell a process's memory")
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// processorTime is what a process has taken of the machine's processors so far (proc_pid_stat(5)), 0 if it has ended.
func processorTime(pid string) (sum time.Duration) {
	const tick = 10 * time.Millisecond // USER_HZ, which is 100 everywhere
	text, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the name may hold spaces
	for _, field := range strings.Fields(rest)[11:13] {
		n, _ := strconv.Atoi(field)
		sum += time.Duration(n) * tick
	}
	return sum
}

// cancelWhenBusy waits until a process has taken that much of the machine's processors.
func cancelWhenBusy(ctx context.Context, pid string, limit time.Duration, cancel func()) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for processorTime(pid) < limit {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
	cancel()
}

// chart is a tree with a chart in folder c.
func chart(template string) fs.FS {
	return fstest.MapFS{
		"c/Chart.yaml":           {Data: []byte("apiVersion: v2\nname: c\nversion: 0.1.0\n")},
		"c/templates/good.yaml":  {Data: []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: good}\n")},
		"c/templates/input.yaml": {Data: []byte(template)},
	}
}

// renderChart is the job of a chart in folder c, as package manifest writes it.
func renderChart(t testing.TB) []byte {
	t.Helper()
	text, err := cbor.Marshal(map[string]any{"Helm": map[string]any{"Dir": "c", "Options": map[string]any{"Release": "c", "Namespace": "c"}}})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Issue 4: rendering runs where a runaway template cannot take the gate down. Each of these, in the gate's own process, takes all memory or
// a core for ever.
func TestARunawayTemplateIsKilled(t *testing.T) {
	const busy = 0 // until it has taken a second of a processor, which on a busy machine is much longer
	loop := "{{ $l := until 90000 }}{{ range $l }}{{ range $l }}{{ range $l }}{{ end }}{{ end }}{{ end }}"
	tests := map[string]struct {
		template string
		time     time.Duration
		want     string
	}{
		"loops over lists in loops":           {loop, busy, "it took longer"},
		"a text that is a template of itself": {`{{ $_ := set .Values "a" "{{ tpl .Values.a . }}" }}{{ tpl .Values.a . }}`, 10 * time.Minute, "it took more memory"},
		"text that doubles":                   {`{{ $s := "0123456789abcdef" }}{{ range until 40 }}{{ $s = print $s $s }}{{ end }}{{ len $s }}`, 10 * time.Minute, "it took more memory"},
		"a list that doubles":                 {`{{ $l := list 1 2 3 4 }}{{ range until 40 }}{{ $l = concat $l $l }}{{ end }}`, 10 * time.Minute, "it took more memory"},
		"one text of eight gigabytes":         {`{{ indent 8000000000 "x" }}`, 10 * time.Minute, "it took more memory"},
		"a number written in ten gigabytes":   {`{{ printf "%10000000000d" 1 }}{{ range until 90000 }}{{ printf "%900000d" 1 }}{{ end }}`, 10 * time.Minute, "it took more memory"},
		"a template that includes itself, each twice": {`{{ define "a" }}{{ include "a" . }}{{ include "a" . }}{{ end }}{{ range until 90000 }}{{ include "b" . }}{{ end }}` +
			`{{ define "b" }}{{ range until 9000 }}{{ range until 9000 }}{{ include "d" . }}{{ end }}{{ end }}{{ end }}{{ define "d" }}{{ end }}`, busy, "it took longer"},
		"output without an end": {`{{ range until 90000 }}{{ range $.Values.l }}{{ end }}{{ repeat 700 "0123456789" }}{{ end }}`, 10 * time.Minute, "it took more memory"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPool(t, 128<<20)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			errLate := errors.New("it took longer than it may")
			if test.time == busy {
				if _, err := p.Do(ctx, chart(""), renderChart(t)); err != nil {
					t.Fatal(err)
				}
				pid := children(t)[0]
				go cancelWhenBusy(ctx, pid, processorTime(pid)+time.Second, func() { cancel(errLate) })
			} else {
				defer time.AfterFunc(test.time, func() { cancel(errLate) }).Stop()
			}
			before := resident(t)
			_, err := p.Do(ctx, chart(test.template), renderChart(t))
			var stopped *manifest.Stopped
			if !errors.As(err, &stopped) || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error %v, want %s", err, test.want)
			}
			if stopped.At != "c/templates/input.yaml" {
				t.Errorf("it names %q", stopped.At)
			}
			if left := children(t); len(left) > 0 {
				t.Errorf("processes %v are left", left)
			}
			runtime.GC()
			if grown := resident(t) - before; grown > 64<<20 {
				t.Errorf("this process has grown by %d bytes", grown)
			}
			answer, err := p.Do(t.Context(), chart("apiVersion: v1\nkind: Secret\nmetadata: {name: after}\n"), renderChart(t))
			if err != nil || !strings.Contains(string(answer), "after") {
				t.Errorf("afterwards: %q, %v", answer, err)
			}
		})
	}
}

// What the child does and what this process does is the same, to the byte.
func TestTheChildAnswersAsTheProcessItself(t *testing.T) {
	p := newPool(t, 0)
	large := strings.Repeat("# a line that makes the file too large to come with its folder\n", 2000)
	for name, tree := range map[string]fs.FS{
		"a chart":                chart(large + "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {a: \"{{ .Release.Name }}\"}\n"),
		"a template that fails":  chart("{{ fail \"no\" }}"),
		"no chart":               fstest.MapFS{"c/values.yaml": {Data: []byte("a: b")}},
		"a chart that is a file": fstest.MapFS{"c": {Data: []byte("a")}},
		"a link in a chart":      fstest.MapFS{"c/Chart.yaml": {Data: []byte("name: c\nversion: 0.1.0\n")}, "c/templates": {Mode: fs.ModeSymlink, Data: []byte("/etc")}},
	} {
		t.Run(name, func(t *testing.T) {
			want, err := manifest.InProcess{}.Do(t.Context(), tree, renderChart(t))
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				have, err := p.Do(t.Context(), tree, renderChart(t))
				if err != nil || string(have) != string(want) {
					t.Errorf("the child says %q (%v), this process %q", have, err, want)
				}
			}
		})
	}
}

// A child that the system ends while it has nothing to do is no fault of the next job.
func TestAChildThatEndedMeanwhileIsReplaced(t *testing.T) {
	p := newPool(t, 0)
	for range 3 {
		if _, err := p.Do(t.Context(), chart(""), renderChart(t)); err != nil {
			t.Fatal(err)
		}
		pids := children(t)
		if len(pids) != 1 {
			t.Fatalf("the children are %v", pids)
		}
		pid, err := strconv.Atoi(pids[0])
		if err != nil {
			t.Fatal(err)
		}
		child, err := os.FindProcess(pid)
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Kill(); err != nil {
			t.Fatal(err)
		}
	}
}

// Nothing of this process is for a child to read: a template that found a way to the environment would find none.
func TestAChildHasNoEnvironmentAndNoFiles(t *testing.T) {
	t.Setenv("COMMITGATE_SECRET", "hunter2")
	held, err := os.Create(filepath.Join(t.TempDir(), "held"))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	p := newPool(t, 0)
	if _, err := p.Do(t.Context(), chart(""), renderChart(t)); err != nil {
		t.Fatal(err)
	}
	pid := children(t)[0]
	environment, err := os.ReadFile("/proc/" + pid + "/environ")
	if err != nil || len(environment) > 0 {
		t.Errorf("the environment is %q, %v", environment, err)
	}
	open, err := os.ReadDir("/proc/" + pid + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range open {
		to, _ := os.Readlink("/proc/" + pid + "/fd/" + fd.Name())
		if strings.HasPrefix(to, "/") && to != os.DevNull && !strings.HasPrefix(to, "/sys/fs/cgroup/") { // the Go runtime reads how many cores it has
			t.Errorf("it holds %s", to)
		}
	}
}

// A program that is not this one (a wrapper, another version that does not know the mode) is an error, and no fault of a chart.
func TestAnotherProgramIsRefused(t *testing.T) {
	for _, command := range []string{"/bin/cat", "/bin/true", "/nowhere"} {
		p := worker.NewPool(worker.Config{Command: command, Args: []string{command}})
		_, err := p.Do(t.Context(), chart(""), renderChart(t))
		var stopped *manifest.Stopped
		if command == "/bin/cat" { // it says everything back, also the job
			if err == nil {
				t.Error("cat renders charts")
			}
			continue
		}
		if err == nil || errors.As(err, &stopped) {
			t.Errorf("%s: %v", command, fmt.Sprint(err))
		}
	}
}
