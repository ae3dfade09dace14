// Package outcome tells what became of decisions: it reads the API server's own audit stream, an independent witness of
// every change, and joins it to the gate's records by the annotation that the gate's answers carry.
//
// A decision is not an outcome: somebody else may still refuse what the gate allowed. And a change in the stream without
// a record is a change that nobody judged. The API server is trusted to tell the truth about itself; what clients can set
// (auditID, user agent) is shown and never used to join.
package outcome

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"
)

// Event is what is read of an audit event (audit.k8s.io/v1). Bodies are skipped: they may hold secrets.
type Event struct {
	AuditID          string            `json:"auditID"`
	Stage            string            `json:"stage"`
	RequestURI       string            `json:"requestURI"`
	Verb             string            `json:"verb"`
	User             User              `json:"user"`
	ImpersonatedUser *User             `json:"impersonatedUser"`
	ObjectRef        *ObjectRef        `json:"objectRef"`
	ResponseStatus   *ResponseStatus   `json:"responseStatus"`
	Received         time.Time         `json:"requestReceivedTimestamp"`
	At               time.Time         `json:"stageTimestamp"`
	Annotations      map[string]string `json:"annotations"`
}

// User is who asked.
type User struct {
	Username string `json:"username"`
}

// ObjectRef is what was asked for.
type ObjectRef struct {
	Resource        string `json:"resource"`
	Namespace       string `json:"namespace"`
	Name            string `json:"name"`
	APIGroup        string `json:"apiGroup"`
	APIVersion      string `json:"apiVersion"`
	ResourceVersion string `json:"resourceVersion"`
	Subresource     string `json:"subresource"`
}

// ResponseStatus is what the API server answered.
type ResponseStatus struct {
	Code int `json:"code"`
}

// actor is under whose name the change was made.
func (e *Event) actor() string {
	if e.ImpersonatedUser != nil {
		return e.ImpersonatedUser.Username
	}
	return e.User.Username
}

// connects are the subresources through which a GET reaches into a pod or a service.
var connects = []string{"exec", "attach", "portforward", "proxy"}

// mutates tells whether a request like this changes something when it succeeds, so that a validating webhook is asked.
func (e *Event) mutates() bool {
	if e.ObjectRef == nil {
		return false // not about a resource: /healthz, /version
	}
	switch e.Verb {
	case "create", "update", "patch", "delete", "deletecollection":
		return true
	case "get":
		for _, c := range connects {
			if e.ObjectRef.Subresource == c {
				return true
			}
		}
	}
	return false
}

// dryRun tells whether nothing was to be changed.
func (e *Event) dryRun() bool {
	_, query, _ := strings.Cut(e.RequestURI, "?")
	for part := range strings.SplitSeq(query, "&") {
		if key, value, _ := strings.Cut(part, "="); key == "dryRun" && value == "All" {
			return true
		}
	}
	return false
}

// succeeded tells whether the API server did what was asked. 101 is a connection that was upgraded.
func (e *Event) succeeded() bool {
	return e.ResponseStatus != nil && (e.ResponseStatus.Code >= 200 && e.ResponseStatus.Code < 300 || e.ResponseStatus.Code == 101)
}

func (e *Event) code() int {
	if e.ResponseStatus == nil {
		return 0
	}
	return e.ResponseStatus.Code
}

// maxEvent is the longest line of an audit file: an event with both bodies of the largest objects, and room.
const maxEvent = 8 << 20

// Lines reads the events of an audit file, one JSON object per line. A line that is no event is an error for
// this line; reading goes on. An unfinished last line is skipped: the API server is writing it.
func Lines(r io.Reader) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		in := bufio.NewReaderSize(r, 64<<10)
		for number := 1; ; number++ {
			line, err := readLine(in)
			if err == io.EOF {
				return
			}
			var e Event
			if err == nil {
				if err = json.Unmarshal(line, &e); err != nil {
					err = errors.New("not an audit event") // the decoder's words may quote the line
				}
			}
			if err != nil {
				err = fmt.Errorf("line %d: %w", number, err)
			}
			if !yield(e, err) || errors.Is(err, errLongLine) {
				return
			}
		}
	}
}

var errLongLine = errors.New("longer than an audit event can be")

// readLine returns a whole line, or io.EOF.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case err != bufio.ErrBufferFull:
			return nil, err
		case len(line) > maxEvent:
			return nil, errLongLine
		}
	}
}

// List reads the events of an EventList, as the webhook backend of the API server posts it, one after the other.
func List(r io.Reader) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		in := json.NewDecoder(r)
		if err := seekItems(in); err != nil {
			yield(Event{}, err)
			return
		}
		for in.More() {
			var e Event
			if err := in.Decode(&e); err != nil {
				yield(e, errors.New("event list: not an audit event"))
				return
			}
			if !yield(e, nil) {
				return
			}
		}
		if _, err := in.Token(); err != nil {
			yield(Event{}, errors.New("event list: it does not end"))
		}
	}
}

// seekItems moves to the first element of the list's items.
func seekItems(in *json.Decoder) error {
	bad := errors.New("not an event list")
	if t, err := in.Token(); err != nil || t != json.Delim('{') {
		return bad
	}
	for in.More() {
		key, err := in.Token()
		if err != nil {
			return bad
		}
		if key == "items" {
			if t, err := in.Token(); err != nil || t != json.Delim('[') {
				return bad
			}
			return nil
		}
		var skip json.RawMessage
		if err := in.Decode(&skip); err != nil {
			return bad
		}
	}
	return bad
}
