package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// jsonEnd is where the first JSON value of data ends. With an error it is where the reader stood.
func jsonEnd(data []byte) (int, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	depth := 0
	for {
		token, err := dec.Token()
		at := int(dec.InputOffset())
		if err != nil {
			var syntax *json.SyntaxError
			if errors.As(err, &syntax) {
				at = int(syntax.Offset)
			}
			return min(at, len(data)), fmt.Errorf("not JSON: %w", err)
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			if depth++; depth > maxDepth {
				return at, fmt.Errorf("nested more than %d levels deep", maxDepth)
			}
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return at, nil
		}
	}
}
