// Demo plays the story of commitgate in a terminal: a real control plane, a real Git host, real agents, and what the gate
// says to each of them. With --once it ends by itself, with exit status 0 only if every step went as told.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/commitgate/commitgate/test/cluster"
	"github.com/commitgate/commitgate/test/lab"
	"github.com/commitgate/commitgate/test/story"
)

func main() {
	once := flag.Bool("once", false, "end after the story instead of leaving everything running")
	keep := flag.Bool("keep", false, "leave the folder with keys, logs and data in place")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *once, *keep); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// errNotAsTold is returned when the story was played to its end, but some step did not go as told.
var errNotAsTold = errors.New("not every step went as told")

func run(ctx context.Context, once, keep bool) (err error) {
	dir, err := os.MkdirTemp("", "commitgate-demo-")
	if err != nil {
		return err
	}
	if !keep {
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	s := newScreen(os.Stdout)
	s.title("commitgate", "nothing enters the cluster that a signed commit does not say")
	l, err := lab.Start(ctx, lab.Config{Dir: dir, View: !once, Progress: s.part})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Stop()) }()

	began := time.Now()
	played, failed, err := play(ctx, s, l)
	if err != nil {
		return err
	}
	s.summary(played, failed, time.Since(began))
	if failed > 0 {
		err = errNotAsTold
	}
	if once {
		return err
	}
	root, err := cluster.ModuleRoot()
	if err != nil {
		return err
	}
	s.invitation(filepath.Join(root, "bin"), l, keep)
	<-ctx.Done()
	return nil
}

// play plays every step, also after one that did not go as told.
func play(ctx context.Context, s *screen, l *lab.Lab) (played, failed int, err error) {
	stage, err := story.NewStage(l)
	if err != nil {
		return 0, 0, err
	}
	for i, chapter := range story.Chapters() {
		s.chapter(i+1, chapter.Title)
		for _, step := range chapter.Steps {
			s.begin(step)
			answer, err := step.Play(ctx, stage)
			if ctx.Err() != nil {
				return played, failed, ctx.Err()
			}
			s.end(step, answer, err)
			played++
			if err != nil {
				failed++
			}
		}
	}
	return played, failed, nil
}
