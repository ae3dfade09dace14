package main

import (
	"os"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/worker"
)

// renderWorker is the mode in which this program is its own child (package worker). It is no command for people.
const renderWorker = "render-worker"

func newRenderWorker() *cobra.Command {
	return &cobra.Command{
		Use:    renderWorker,
		Short:  "Render for a parent process",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if status := worker.Main(); status != 0 {
				return exit{code: status}
			}
			return nil
		},
	}
}

// maxRenderWorkers bounds the processes that render at a time, and so the memory that is set aside for them.
const maxRenderWorkers = 2

// newEngine is what commands render with: processes of this program, each with so much memory (bytes; 0 is the default), which end with this one.
func newEngine(memory uint64) manifest.Engine {
	self := "/proc/self/exe" // this very program, also when the file was replaced since
	if runtime.GOOS != "linux" {
		var err error
		if self, err = os.Executable(); err != nil {
			self = os.Args[0]
		}
	}
	return worker.NewPool(worker.Config{
		Command: self, Args: []string{os.Args[0], renderWorker}, Memory: memory, Size: min(maxRenderWorkers, runtime.GOMAXPROCS(0)),
	})
}
