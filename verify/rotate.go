package verify

import (
	"bytes"
	"errors"
	"fmt"

	yamlv3 "go.yaml.in/yaml/v3"

	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/signing"
)

// Rotation gives one principal of a signer list other keys.
type Rotation struct {
	Principal string
	SSH       string // a public key as authorized_keys has it; "" for none
	OpenPGP   string // ASCII-armoured; "" for none
	Keep      bool   // the keys that are there stay
}

// Rotate returns a signer list (a document of kind SignerList) with the keys changed, and everything else, comments too, as it was. The result can be
// read as a list, or there is an error.
func Rotate(p git.Path, data []byte, r Rotation) ([]byte, error) {
	var doc yamlv3.Node
	if err := yamlv3.Unmarshal(data, &doc); err != nil || len(doc.Content) != 1 {
		return nil, fmt.Errorf("%w: %s is not a document of kind SignerList", ErrRequest, p)
	}
	signer := findSigner(field(doc.Content[0], "signers"), r.Principal)
	if signer == nil {
		return nil, fmt.Errorf("%w: %s has no signer %q", ErrRequest, p, r.Principal)
	}
	if r.SSH != "" {
		keys := field(signer, "ssh")
		if keys == nil {
			keys = &yamlv3.Node{Kind: yamlv3.SequenceNode}
			signer.Content = append(signer.Content, scalar("ssh"), keys)
		}
		if !r.Keep {
			keys.Content = nil
		}
		keys.Content = append(keys.Content, scalar(r.SSH))
	}
	if r.OpenPGP != "" {
		keys := field(signer, "openpgp")
		if keys == nil {
			keys = scalar("")
			signer.Content = append(signer.Content, scalar("openpgp"), keys)
		}
		if !r.Keep {
			keys.Value = ""
		}
		keys.Value += r.OpenPGP
		keys.Style = yamlv3.LiteralStyle
	}
	var out bytes.Buffer
	e := yamlv3.NewEncoder(&out)
	e.SetIndent(2)
	if err := errors.Join(e.Encode(&doc), e.Close()); err != nil {
		return nil, err
	}
	if _, err := signing.DescribeList(p, out.Bytes()); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	return out.Bytes(), nil
}

func scalar(value string) *yamlv3.Node { return &yamlv3.Node{Kind: yamlv3.ScalarNode, Value: value} }

// field is the value of a mapping's key, nil if there is none.
func field(n *yamlv3.Node, key string) *yamlv3.Node {
	if n == nil || n.Kind != yamlv3.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func findSigner(signers *yamlv3.Node, principal string) *yamlv3.Node {
	if signers == nil || signers.Kind != yamlv3.SequenceNode {
		return nil
	}
	for _, s := range signers.Content {
		if p := field(s, "principal"); p != nil && p.Value == principal {
			return s
		}
	}
	return nil
}
