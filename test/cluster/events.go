package cluster

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
)

// Event is one line of the API server's audit log: a request that changed something or tried to.
type Event struct {
	Verb       string    `json:"verb"`
	RequestURI string    `json:"requestURI"`
	UserAgent  string    `json:"userAgent"`
	Received   time.Time `json:"requestReceivedTimestamp"`
	Answered   time.Time `json:"stageTimestamp"`
	User       struct {
		Username string `json:"username"`
	} `json:"user"`
	Object struct {
		Group       string `json:"apiGroup"`
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
	} `json:"objectRef"`
	Response struct {
		Code    int    `json:"code"`
		Message string `json:"message"` // of a refusal
	} `json:"responseStatus"`
	// Annotations hold what admission webhooks had to say, as WEBHOOK-NAME/KEY.
	Annotations map[string]string `json:"annotations"`
}

// DryRun tells whether the request only asked what would happen.
func (e Event) DryRun() bool { return strings.Contains(e.RequestURI, "dryRun=All") }

// Events reads the API server's audit log from an offset and returns the offset of what is not written yet.
func (c *Cluster) Events(offset int) ([]Event, int, error) {
	data, err := os.ReadFile(c.AuditLog())
	if err != nil {
		return nil, offset, err
	}
	var events []Event
	for {
		line, _, whole := bytes.Cut(data[offset:], []byte("\n"))
		if !whole {
			return events, offset, nil
		}
		var e Event
		if err := json.Unmarshal(line, &e); err != nil {
			return events, offset, fmt.Errorf("%s at byte %d: %w", c.AuditLog(), offset, err)
		}
		events = append(events, e)
		offset += len(line) + 1
	}
}
