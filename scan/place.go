package scan

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/manifest"
)

// A place is how far a scan has come: a file of JSON lines, the scan it belongs to first, then each resource that was listed to its end. A scan that is
// interrupted leaves it behind, and the next one goes on from it. A line that was half written counts as not written.

// placeSchema is the form of the file; another one is not gone on from.
const placeSchema = 1

// placeHead says what a place holds for. A scan that compares with another truth, or by another configuration, does not go on from it.
type placeHead struct {
	Schema    int               `json:"schema"`
	Basis     string            `json:"basis"`
	Namespace string            `json:"namespace,omitempty"`
	Revisions map[string]git.ID `json:"revisions"`
	Began     time.Time         `json:"began"`
}

// placeOf is what was found of one resource. Values of objects are not in it.
type placeOf struct {
	Resource string   `json:"resource"`
	Unread   string   `json:"unread,omitempty"` // why it could not be listed
	Objects  []placed `json:"objects,omitempty"`
}

// placed is one object that was looked at.
type placed struct {
	Key     manifest.Key  `json:"key"`
	UID     string        `json:"uid,omitempty"`
	State   State         `json:"state"`
	Owner   *live.Owner   `json:"owner,omitempty"`
	Entry   *manifest.Key `json:"entry,omitempty"` // its declaration
	Version string        `json:"version,omitempty"`
	Why     string        `json:"why,omitempty"`
	Fields  []string      `json:"fields,omitempty"`
	Manager string        `json:"manager,omitempty"`
	Time    time.Time     `json:"time,omitzero"`
}

// resume goes on from the place that a scan before left, if there is one that holds, and begins one if there is none. Without a place, or where it
// cannot be kept, a scan begins anew each time.
func (p *pass) resume() {
	cfg := &p.scanner.cfg
	if cfg.Place == "" || cfg.Each != nil {
		return
	}
	head := placeHead{Schema: placeSchema, Basis: p.judge.Gate.Digest(), Namespace: cfg.Namespace, Revisions: p.result.Revisions, Began: p.result.Began}
	kept, err := os.ReadFile(p.placeFile())
	if err == nil && p.goOn(head, kept) {
		cfg.Log.Info("the scan goes on where it was interrupted", "resources", len(p.done), "began", p.result.Began)
		p.place, err = os.OpenFile(p.placeFile(), os.O_WRONLY|os.O_APPEND, 0o600)
	} else if err == nil || errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(cfg.Place, 0o700); err == nil {
			p.place, err = os.OpenFile(p.placeFile(), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		}
		p.write(head)
	}
	if err != nil {
		cfg.Log.Warn("the place of the scan cannot be kept: interrupted, it would begin anew", "err", err)
	}
}

func (p *pass) placeFile() string { return filepath.Join(p.scanner.cfg.Place, "place.jsonl") }

// goOn takes up what a place holds, and cuts off a line that was half written. false leaves the pass as it was.
func (p *pass) goOn(head placeHead, kept []byte) bool {
	lines := bufio.NewReader(bytes.NewReader(kept))
	first, err := lines.ReadBytes('\n')
	var was placeHead
	if err != nil || json.Unmarshal(first, &was) != nil || was.Schema != head.Schema || was.Basis != head.Basis || was.Namespace != head.Namespace ||
		!maps.Equal(was.Revisions, head.Revisions) || head.Began.Sub(was.Began) > p.scanner.cfg.Interval+2*atMost || was.Began.After(head.Began) {
		return false
	}
	good := int64(len(first))
	var all []placeOf
	for {
		line, err := lines.ReadBytes('\n')
		var of placeOf
		if err != nil || json.Unmarshal(line, &of) != nil {
			if !errors.Is(err, io.EOF) && err != nil {
				return false
			}
			break
		}
		good += int64(len(line))
		all = append(all, of)
	}
	for _, of := range all {
		for i := range of.Objects {
			if e := of.Objects[i].Entry; e != nil && p.judge.Truth.Lookup(*e) == nil {
				return false // the same revisions and another truth: rendered by another version of the gate
			}
		}
	}
	if os.Truncate(p.placeFile(), good) != nil {
		return false
	}
	p.result.Began = was.Began
	for _, of := range all {
		p.done[of.Resource] = of.Unread
		for _, o := range of.Objects {
			p.found(o.finding(p), o.UID, o.Owner)
		}
	}
	return true
}

func (o *placed) finding(p *pass) Finding {
	f := Finding{Key: o.Key, Version: o.Version, State: o.State, Why: o.Why, Fields: o.Fields, Manager: o.Manager, Time: o.Time}
	if o.Entry != nil {
		f.Entry = p.judge.Truth.Lookup(*o.Entry)
	}
	return f
}

// keep notes that a resource was listed to its end, or cannot be listed.
func (p *pass) keep(r resource, unread string) {
	if p.place != nil {
		p.write(placeOf{r.String(), unread, p.fresh})
	}
	p.fresh = nil
}

// write adds a line. What cannot be written is not gone on from.
func (p *pass) write(line any) {
	if p.place == nil {
		return
	}
	b, err := json.Marshal(line)
	if err == nil {
		_, err = p.place.Write(append(b, '\n'))
	}
	if err != nil {
		p.scanner.cfg.Log.Warn("the place of the scan cannot be kept: interrupted, it would go on from an earlier one", "err", err)
		p.leave()
	}
}

// leave closes the place and lets it lie, for the next scan to go on from.
func (p *pass) leave() {
	if p.place == nil {
		return
	}
	if err := p.place.Close(); err != nil {
		p.scanner.cfg.Log.Warn("the place of the scan", "err", err)
	}
	p.place = nil
}

// arrived removes the place of a scan that came to its end.
func (p *pass) arrived() {
	if p.place == nil {
		return
	}
	p.leave()
	if err := os.Remove(p.placeFile()); err != nil {
		p.scanner.cfg.Log.Warn("the place of the scan", "err", err)
	}
}
