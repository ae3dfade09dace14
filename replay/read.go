// Package replay judges recorded AdmissionReviews offline: what would the gate decide? It runs the code that a running gate runs, and keeps
// what it sees in the stream as the live state.
package replay

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"sigs.k8s.io/yaml"

	"github.com/commitgate/commitgate/admit"
	"github.com/commitgate/commitgate/webhook"
)

// Item is one review of a recording, or what is wrong with it.
type Item struct {
	Line    int // from 1: where it begins in the input
	Request *admit.Request
	Err     error
}

// Read reads a recording: one AdmissionReview as JSON or YAML, a YAML stream, a JSON array, or JSON Lines; a document may hold the review under the key
// "review", beside labels. Documents that hold no review (steps, markers) are passed over. Input may be compressed with gzip.
// A document that cannot be read becomes an Item with Err; nothing after it is lost.
func Read(in io.Reader) ([]Item, error) {
	br := bufio.NewReader(in)
	if magic, _ := br.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, fmt.Errorf("gzip: %w", err)
		}
		br = bufio.NewReader(z)
	}
	data, err := io.ReadAll(br)
	if err != nil {
		return nil, err
	}
	trimmed := bytes.TrimLeft(data, " \t\r\n")
	switch {
	case len(trimmed) == 0:
		return nil, errors.New("empty input")
	case trimmed[0] == '[':
		return readArray(data)
	case trimmed[0] == '{' && !json.Valid(data):
		return readLines(data), nil
	case trimmed[0] == '{':
		return appendDocument(nil, 1, data), nil
	}
	return readYAML(data)
}

func readArray(data []byte) ([]Item, error) {
	var docs []json.RawMessage
	if err := json.Unmarshal(data, &docs); err != nil {
		return nil, fmt.Errorf("JSON array: %w", err)
	}
	var items []Item
	for _, d := range docs {
		items = appendDocument(items, 1, d)
	}
	return items, nil
}

// readLines reads JSON Lines, and JSON documents of several lines one after another.
func readLines(data []byte) []Item {
	var items []Item
	line := 1
	for len(data) > 0 {
		text := data
		if i := bytes.IndexByte(data, '\n'); i >= 0 {
			text = data[:i+1]
		}
		doc := bytes.TrimSpace(text)
		if len(doc) > 0 && !json.Valid(doc) {
			// Not a line of its own: a document of several lines, as long as it takes.
			dec := json.NewDecoder(bytes.NewReader(data))
			var whole json.RawMessage
			if err := dec.Decode(&whole); err == nil {
				doc = whole
				end := int(dec.InputOffset())
				if i := bytes.IndexByte(data[end:], '\n'); i >= 0 {
					end += i + 1
				} else {
					end = len(data)
				}
				text = data[:end]
			}
		}
		if len(doc) > 0 {
			items = appendDocument(items, line, doc)
		}
		line += bytes.Count(text, []byte("\n"))
		data = data[len(text):]
	}
	return items
}

func readYAML(data []byte) ([]Item, error) {
	var items []Item
	line := 1
	for _, doc := range bytes.SplitAfter(data, []byte("\n---")) {
		lines := bytes.Count(doc, []byte("\n"))
		doc = bytes.TrimSuffix(doc, []byte("---"))
		if len(bytes.TrimSpace(doc)) > 0 {
			asJSON, err := yaml.YAMLToJSONStrict(doc)
			if err != nil {
				items = append(items, Item{Line: line, Err: fmt.Errorf("YAML: %w", err)})
			} else if !bytes.Equal(asJSON, []byte("null")) {
				items = appendDocument(items, line, asJSON)
			}
		}
		line += lines
	}
	return items, nil
}

// appendDocument adds the review that a document holds; none if it holds none.
func appendDocument(items []Item, line int, doc []byte) []Item {
	var head struct {
		Kind    string          `json:"kind"`
		Review  json.RawMessage `json:"review"`
		Request json.RawMessage `json:"request"`
	}
	if err := json.Unmarshal(doc, &head); err != nil {
		return append(items, Item{Line: line, Err: fmt.Errorf("not a JSON object: %w", err)})
	}
	switch {
	case len(head.Review) > 0:
		doc = head.Review
	case head.Kind != "AdmissionReview" && len(head.Request) == 0:
		return items
	}
	r, err := webhook.Decode(doc)
	return append(items, Item{Line: line, Request: r, Err: err})
}
