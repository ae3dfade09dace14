package agent

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// FleetResource is a file of a bundle, as Fleet copies it into a Bundle and a Content.
type FleetResource struct {
	Name string // below the folder of the bundle
	Data []byte
}

// maxFleetContent bounds what the resources of one object may come to, unpacked: an object has at most 3 MiB in the API server.
const maxFleetContent = 64 << 20

var errFleetContent = errors.New("more than a bundle may hold")

// FleetBundleResources reads the resources of a Bundle's spec (fleet, pkg/apis, BundleResource).
func FleetBundleResources(spec map[string]any) ([]FleetResource, error) {
	text, err := json.Marshal(map[string]any{"resources": spec["resources"]})
	if err != nil {
		return nil, fmt.Errorf("spec.resources: %w", err)
	}
	left := maxFleetContent
	return fleetResources(text, &left)
}

// FleetContentResources reads the resources of a Content, which keeps them packed (fleet, internal/manifest).
func FleetContentResources(content string) ([]FleetResource, error) {
	left := maxFleetContent
	text, err := unpackFleet(content, &left)
	if err != nil {
		return nil, fmt.Errorf("content: %w", err)
	}
	return fleetResources(text, &left)
}

func fleetResources(text []byte, left *int) ([]FleetResource, error) {
	var m struct {
		Resources []struct {
			Name     string `json:"name"`
			Content  string `json:"content"`
			Encoding string `json:"encoding"`
		} `json:"resources"`
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("resources: %w", err)
	}
	out := make([]FleetResource, 0, len(m.Resources))
	for _, r := range m.Resources {
		data := []byte(r.Content)
		switch r.Encoding {
		case "":
		case "base64+gz":
			var err error
			if data, err = unpackFleet(r.Content, left); err != nil {
				return nil, fmt.Errorf("resource %s: %w", r.Name, err)
			}
		default:
			return nil, fmt.Errorf("resource %s: encoding %q is not known", r.Name, r.Encoding)
		}
		out = append(out, FleetResource{Name: r.Name, Data: data})
	}
	return out, nil
}

// unpackFleet takes text out of base64 and gzip, and what it comes to off what is left.
func unpackFleet(text string, left *int) ([]byte, error) {
	packed, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, err
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(r, int64(*left)+1))
	if err != nil {
		return nil, err
	}
	if *left -= len(data); *left < 0 {
		return nil, errFleetContent
	}
	return data, nil
}
