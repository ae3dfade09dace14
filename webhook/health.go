package webhook

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Check is one thing that must hold before the gate can answer from knowledge.
type Check struct {
	Name string
	// Missing says what is missing, "" if nothing is. It must not block.
	Missing func() string
}

// Health serves /livez (the process answers) and /readyz (every check holds; the body names what is missing; ?verbose lists all).
func Health(checks []Check) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		var lines []string
		ready := true
		for _, c := range checks {
			if missing := c.Missing(); missing != "" {
				ready = false
				lines = append(lines, fmt.Sprintf("[-] %s: %s", c.Name, missing))
			} else if r.URL.Query().Has("verbose") {
				lines = append(lines, fmt.Sprintf("[+] %s", c.Name))
			}
		}
		if !ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		lines = slices.Concat(lines, []string{map[bool]string{true: "ready", false: "not ready"}[ready]})
		fmt.Fprintln(w, strings.Join(lines, "\n"))
	})
	return mux
}
