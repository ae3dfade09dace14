package v1alpha1

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	yamlv3 "go.yaml.in/yaml/v3"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// KindSignerList is the kind of a SignerList.
const KindSignerList = "SignerList"

// ParseSignerList reads the one SignerList of a YAML or JSON file, strictly: an unknown or doubled field, a second document or an alias of another
// spelling is an error.
func ParseSignerList(data []byte) (*SignerList, error) {
	if len(data) > maxConfigSize {
		return nil, fmt.Errorf("larger than %d bytes", maxConfigSize)
	}
	d := yamlv3.NewDecoder(bytes.NewReader(data))
	var doc, more yamlv3.Node
	if err := d.Decode(&doc); err != nil {
		return nil, err
	}
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one document")
	}
	text, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, err
	}
	list := &SignerList{}
	strict, err := kjson.UnmarshalStrict(text, list)
	if err = errors.Join(append(strict, err)...); err != nil {
		return nil, err
	}
	if list.APIVersion != APIVersion || list.Kind != KindSignerList {
		return nil, fmt.Errorf("%s of %s: want %s of %s", list.Kind, list.APIVersion, KindSignerList, APIVersion)
	}
	return list, nil
}
