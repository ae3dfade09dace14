// Argocd-application-controller is Argo CD's own, as its own main package starts it.
package main

import (
	"os"

	"github.com/argoproj/argo-cd/v3/cmd/argocd-application-controller/commands"
)

func main() {
	if err := commands.NewCommand().Execute(); err != nil {
		os.Exit(1)
	}
}
