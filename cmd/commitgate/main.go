package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// The exit statuses of every command, as in docs/cli.md.
const (
	exitYes     = 0 // all good
	exitNo      = 1 // something is not, and it was named
	exitUsage   = 2 // the command line or a file it names is wrong
	exitUnknown = 3 // could not tell
)

// exit ends a command with a status; err, if there is one, is printed before.
type exit struct {
	code int
	err  error
}

func (e exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}

func (e exit) Unwrap() error { return e.err }

// usage says that the command line or a file that it names is wrong.
func usage(format string, args ...any) error {
	return exit{exitUsage, fmt.Errorf(format, args...)}
}

// unknown says that something of ours or around us broke, so that there is no answer.
func unknown(err error) error { return exit{exitUnknown, err} }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args))
}

func run(ctx context.Context, args []string) int {
	root := newRoot(filepath.Base(args[0]))
	root.SetArgs(args[1:])
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitYes
	}
	var e exit
	if !errors.As(err, &e) {
		e = exit{exitUsage, err} // cobra's own complaints are about the command line
	}
	if e.err != nil {
		fmt.Fprintf(root.ErrOrStderr(), "commitgate: %v\n", e.err)
	}
	return e.code
}

// newRoot is the command tree. As a kubectl plugin (kubectl-commitgate) it is the same, by another name.
func newRoot(name string) *cobra.Command {
	use := "commitgate"
	if strings.HasPrefix(name, "kubectl-") {
		use = "kubectl commitgate"
	}
	root := &cobra.Command{
		Use:           use,
		Short:         "Nothing enters the cluster that a signed commit does not say",
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(
		newServe(),
		newReview(),
		newRollout(),
		newBackstop(),
		newBreakglass(),
		newCertificates(),
		newAudit(),
		newBugreport(),
		newCheck(),
		newCoverage(),
		newDoctor(),
		newDiff(),
		newExemptions(),
		newInit(),
		newMan(),
		newPolicy(),
		newRender(),
		newRenderWorker(),
		newScan(),
		newStatic(),
		newStatus(),
		newTrust(),
		newVerify(),
		newWhy(),
	)
	return root
}
