package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/commitgate/commitgate/manifest"
)

const (
	// idleFor is how long a child without work is kept: it holds some 60 MB, most of it shared with the parent.
	idleFor = time.Minute
	// startFor bounds the start of a child: what does not answer by then is not this program. On a busy machine a child needs many seconds.
	startFor = time.Minute
	// maxErrors is how much of a child's standard error is kept, to tell what it died of. It is not shown: it may quote what the job holds.
	maxErrors = 4 << 10
	// DefaultMemory is what one child may take, in bytes.
	DefaultMemory = 512 << 20
	// LeastMemory is what a child needs to do anything at all, in bytes.
	LeastMemory = 64 << 20
)

// Config is what a pool needs.
type Config struct {
	// Command is this program in the mode in which it calls Main: its file and its arguments, the first of which is its name.
	Command string
	Args    []string
	Memory  uint64 // bytes that one child may take; 0 is DefaultMemory
	Size    int    // children at most; 0 is GOMAXPROCS
}

// Pool runs jobs in children, which it starts when they are needed and keeps for the next. It is a manifest.Engine.
type Pool struct {
	cfg   Config
	turns chan struct{} // one token for each child that works

	mu     sync.Mutex // guards what follows
	idle   []*child
	closed bool
}

var _ manifest.Engine = (*Pool)(nil)

// NewPool makes a pool without children.
func NewPool(cfg Config) *Pool {
	cfg.Memory = cmp.Or(cfg.Memory, DefaultMemory)
	cfg.Size = cmp.Or(cfg.Size, runtime.GOMAXPROCS(0))
	return &Pool{cfg: cfg, turns: make(chan struct{}, cfg.Size)}
}

// Size is how many jobs are done at once.
func (p *Pool) Size() int { return p.cfg.Size }

// Close ends the children that are idle; those at work end with their jobs. The end of this process ends all of them too.
func (p *Pool) Close() error {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	for _, c := range idle {
		c.end()
	}
	return nil
}

// Do runs a job in a child; see manifest.Engine. A child whose job did not end with an answer is killed, with all that it holds.
func (p *Pool) Do(ctx context.Context, tree fs.FS, text []byte) ([]byte, error) {
	select {
	case p.turns <- struct{}{}:
	case <-ctx.Done():
		return nil, &manifest.Stopped{Why: context.Cause(ctx)}
	}
	defer func() { <-p.turns }()
	for {
		c, err := p.take(ctx)
		if err != nil {
			return nil, err
		}
		used := c.jobs > 0
		answer, err := c.do(ctx, tree, text)
		if err == nil {
			p.put(c)
			return answer, nil
		}
		c.end()
		if used && !c.heard && ctx.Err() == nil {
			continue // it had ended while it had nothing to do; whoever ended it, the job is not to blame
		}
		return nil, c.why(ctx, err)
	}
}

// take is a child that waits for work, or a new one.
func (p *Pool) take(ctx context.Context) (*child, error) {
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		c.rest.Stop() // if it is too late for that, drop finds it no more
		return c, nil
	}
	p.mu.Unlock()
	return start(ctx, p.cfg)
}

// put keeps a child for the next job, for a while.
func (p *Pool) put(c *child) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		c.end()
		return
	}
	c.rest = time.AfterFunc(idleFor, func() { p.drop(c) })
	p.idle = append(p.idle, c)
}

// drop ends a child that had no work for long.
func (p *Pool) drop(c *child) {
	p.mu.Lock()
	i := slices.Index(p.idle, c)
	if i >= 0 {
		p.idle = slices.Delete(p.idle, i, i+1)
	}
	p.mu.Unlock()
	if i >= 0 {
		c.end()
	}
}

// child is one process. One goroutine uses it at a time.
type child struct {
	pipe
	cmd    *exec.Cmd
	in     io.Closer
	errors *head
	rest   *time.Timer // while it is idle
	jobs   int         // that it has done
	heard  bool        // it has said something about the job at hand
	at     string      // the file that it said it is at
}

func start(ctx context.Context, cfg Config) (*child, error) {
	cmd := &exec.Cmd{Path: cfg.Command, Args: cfg.Args, Env: []string{}, Dir: "/"}
	c := &child{cmd: cmd, errors: &head{}}
	cmd.Stderr = c.errors
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("start a process to render in: %w", err)
	}
	c.pipe, c.in = newPipe(out, in), in
	if err := c.greet(ctx, cfg.Memory); err != nil {
		c.end()
		return nil, fmt.Errorf("start a process to render in: %s", c.why(ctx, err)) // no job is to blame
	}
	return c, nil
}

// greet waits until the child is ready.
func (c *child) greet(ctx context.Context, memory uint64) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startFor, fmt.Errorf("it was not ready after %v", startFor))
	defer cancel()
	defer context.AfterFunc(ctx, c.kill)()
	if err := c.send(message{Kind: hello, Memory: memory}); err != nil {
		return err
	}
	m, err := c.receive()
	if err == nil && m.Kind != hello {
		err = errors.New("it says something else than this program")
	}
	return err
}

// do gives the child a job and what it asks for. After an error the child must be ended.
func (c *child) do(ctx context.Context, tree fs.FS, text []byte) ([]byte, error) {
	c.at, c.heard = "", false
	defer context.AfterFunc(ctx, c.kill)()
	if err := c.send(message{Kind: job, Data: text}); err != nil {
		return nil, err
	}
	for {
		m, err := c.receive()
		if err != nil {
			return nil, err
		}
		c.heard = true
		switch m.Kind {
		case at:
			c.at = m.Name
		case folder, file:
			if err := c.send(serve(tree, m)); err != nil {
				return nil, err
			}
		case done:
			c.jobs++
			return m.Data, nil
		default:
			return nil, errors.New("it says something else than this program")
		}
	}
}

func (c *child) kill() { _ = c.cmd.Process.Kill() } // it may have ended already

// end kills the child and waits for it to be gone.
func (c *child) end() {
	c.kill()
	_ = c.in.Close()
	_ = c.cmd.Wait() // how it ended is in ProcessState
}

// why says in a sentence why a child that has ended has not done its job; err is how that was noticed.
func (c *child) why(ctx context.Context, err error) error {
	said := string(c.errors.text)
	switch status := c.cmd.ProcessState; {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case status.ExitCode() == exitMemory, strings.Contains(said, "out of memory"), strings.Contains(said, "cannot allocate memory"):
		err = errMemory
	case strings.Contains(said, "stack exceeds"):
		err = errors.New("it calls itself without an end")
	case status.String() == "signal: killed":
		err = errors.New("its process was killed by somebody else, as the system does where memory runs out")
	default:
		err = fmt.Errorf("its process ended (%v; %w)", status, err)
	}
	return &manifest.Stopped{At: c.at, Why: err}
}

// errMemory is without the number: whoever pushed can do nothing with it, and an operator finds it in the documents.
var errMemory = errors.New("it took more memory than one rendering may")

// head keeps the beginning of what is written to it.
type head struct{ text []byte }

func (h *head) Write(p []byte) (int, error) {
	h.text = append(h.text, p[:min(len(p), maxErrors-len(h.text))]...)
	return len(p), nil
}
