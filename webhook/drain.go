package webhook

import (
	"net/http"
	"sync/atomic"
)

// Drain lets the clients of a server that is to end go elsewhere, before it does. The zero value is of a server that goes on.
//
// An API server keeps connections open and sends one review after another on them, without a second try. If the server closed one while a
// review is on its way, that change would be refused. So it says with each answer that the connection is over, for as long as it drains, and closes none.
type Drain struct {
	ending atomic.Bool
}

// Begin makes the gate unready; it still answers.
func (d *Drain) Begin() { d.ending.Store(true) }

// Handler tells clients to go elsewhere while the gate drains.
func (d *Drain) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d.ending.Load() {
			w.Header().Set("Connection", "close") // in HTTP/2, Go makes it a GOAWAY
		}
		next.ServeHTTP(w, r)
	})
}

// Check is the one of /readyz: whoever ends is to be asked no more.
func (d *Drain) Check() Check {
	return Check{Name: "staying", Missing: func() string {
		if d.ending.Load() {
			return "this replica ends, and answers who still asks"
		}
		return ""
	}}
}
