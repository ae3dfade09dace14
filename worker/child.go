package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/commitgate/commitgate/manifest"
)

// Exit statuses of a child.
const (
	exitOver   = 0 // the parent has closed the pipe, or is gone
	exitMemory = 86
	exitBroken = 87 // the parent said what cannot be understood
)

// look is how often a child looks at its memory. What a template takes in between is bounded by the operating system, where that can.
const look = 10 * time.Millisecond

// Main is the whole life of a child, with the standard input and output as its way to the parent. It returns the exit status.
func Main() int {
	in, out := os.Stdin, os.Stdout
	os.Stdout = os.Stderr // what a library prints must not be taken for an answer
	debug.SetTraceback("none")
	runtime.GOMAXPROCS(min(2, runtime.GOMAXPROCS(0))) // one job, and the collector
	p := newPipe(in, out)
	first, err := p.receive()
	if err != nil || first.Kind != hello {
		return exitBroken
	}
	if err := limit(first.Memory); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitBroken
	}
	if err := p.send(first); err != nil {
		return exitOver
	}
	said := make(chan message)
	go func() {
		for {
			m, err := p.receive()
			if err != nil {
				os.Exit(exitOver) // nobody is left to work for, whatever a template is at
			}
			said <- m
		}
	}()
	for m := range said {
		if m.Kind != job {
			return exitBroken
		}
		tree := &tree{ask: func(m message) message {
			if p.send(m) != nil {
				os.Exit(exitOver)
			}
			return <-said
		}}
		answer := manifest.Work(context.Background(), tree, m.Data, func(path string) {
			if p.send(message{Kind: at, Name: path}) != nil {
				os.Exit(exitOver)
			}
		})
		if p.send(message{Kind: done, Data: answer}) != nil {
			return exitOver
		}
	}
	return exitOver
}

// limit bounds the memory of this process, in bytes: the collector works harder when it comes near, the process ends itself when it is over, and the
// operating system refuses what is asked for at once.
func limit(memory uint64) error {
	if memory < LeastMemory {
		return errors.New("less memory than a job needs at all")
	}
	debug.SetGCPercent(400)
	debug.SetMemoryLimit(int64(memory / 8 * 7))
	go func() {
		sample := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
		for range time.Tick(look) {
			metrics.Read(sample)
			if sample[0].Value.Uint64()-sample[1].Value.Uint64() > memory {
				os.Exit(exitMemory)
			}
		}
	}()
	return limitData(memory + slack)
}

// slack is for what the operating system counts and the program does not use: memory that the runtime sets aside.
const slack = 256 << 20
