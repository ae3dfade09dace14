package webhook

import (
	"errors"
	"fmt"
	"slices"

	kjson "sigs.k8s.io/json"

	"github.com/commitgate/commitgate/admit"
)

// maxFields is how many fields an object of the review itself may have to be read in one pass: twice what admission.k8s.io/v1 knows.
const maxFields = 32

// admissionReview is an AdmissionReview (admission.k8s.io/v1).
type admissionReview struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Request    *admit.Request `json:"request"`
}

// Decode reads an AdmissionReview (admission.k8s.io/v1) as JSON. Field names are case-sensitive and integers stay integers, as in the
// API server itself.
func Decode(data []byte) (*admit.Request, error) {
	v, ok := decodeOnce(data)
	if !ok { // not what an API server sends
		v = new(admissionReview)
		if err := kjson.UnmarshalCaseSensitivePreserveInts(data, v); err != nil {
			return nil, errors.New("not JSON of an AdmissionReview") // the decoder's message may quote the object
		}
	}
	if v.Kind != "AdmissionReview" || v.APIVersion != "admission.k8s.io/v1" {
		return nil, fmt.Errorf("want an AdmissionReview of admission.k8s.io/v1, have kind %.40q of %.40q", v.Kind, v.APIVersion)
	}
	if v.Request == nil {
		return nil, errors.New("the review has no request")
	}
	if v.Request.UID == "" {
		return nil, errors.New("the request has no uid")
	}
	return v.Request, nil
}

// decodeOnce reads a review in one pass, for half of what it costs with sigs.k8s.io/json, and otherwise as that: if it can.
func decodeOnce(data []byte) (*admissionReview, bool) {
	r, v := &reader{text: data}, new(admissionReview)
	ok := r.fields(func(name string) bool {
		switch name {
		case "apiVersion":
			return r.into(&v.APIVersion)
		case "kind":
			return r.into(&v.Kind)
		case "request":
			if r.next() == 'n' {
				return r.word("null")
			}
			v.Request = new(admit.Request)
			return r.request(v.Request)
		}
		return r.skip()
	})
	return v, ok && r.next() == 0 && r.at == len(data)
}

func (r *reader) request(q *admit.Request) bool {
	return r.fields(func(name string) bool {
		switch name {
		case "uid":
			return r.into(&q.UID)
		case "kind":
			return r.kind(&q.Kind)
		case "resource":
			return r.resource(&q.Resource)
		case "subResource":
			return r.into(&q.Subresource)
		case "requestResource":
			if r.next() == 'n' {
				return r.word("null")
			}
			q.RequestResource = new(admit.GroupVersionResource)
			return r.resource(q.RequestResource)
		case "name":
			return r.into(&q.Name)
		case "namespace":
			return r.into(&q.Namespace)
		case "operation":
			var operation string
			ok := r.into(&operation)
			q.Operation = admit.Operation(operation)
			return ok
		case "userInfo":
			return r.user(&q.User)
		case "object":
			return r.objectOrNull(&q.Object)
		case "oldObject":
			return r.objectOrNull(&q.Old)
		case "dryRun":
			v, ok := r.value()
			q.DryRun, _ = v.(bool)
			return ok && (v == true || v == false)
		case "options":
			return r.objectOrNull(&q.Options)
		}
		return r.skip()
	})
}

func (r *reader) kind(k *admit.GroupVersionKind) bool {
	return r.fields(func(name string) bool {
		switch name {
		case "group":
			return r.into(&k.Group)
		case "version":
			return r.into(&k.Version)
		case "kind":
			return r.into(&k.Kind)
		}
		return r.skip()
	})
}

func (r *reader) resource(k *admit.GroupVersionResource) bool {
	return r.fields(func(name string) bool {
		switch name {
		case "group":
			return r.into(&k.Group)
		case "version":
			return r.into(&k.Version)
		case "resource":
			return r.into(&k.Resource)
		}
		return r.skip()
	})
}

func (r *reader) user(u *admit.User) bool {
	return r.fields(func(name string) bool {
		switch name {
		case "username":
			return r.into(&u.Name)
		case "uid":
			return r.into(&u.UID)
		case "groups":
			return r.texts(&u.Groups)
		case "extra":
			u.Extra = map[string][]string{}
			return r.members(func(claim string) bool {
				var values []string
				ok := r.texts(&values)
				u.Extra[claim] = values
				return ok
			})
		}
		return r.skip()
	})
}

// fields takes an object of the review itself. A field that is there twice is none that an API server sends.
func (r *reader) fields(take func(name string) bool) bool {
	seen := make([]string, 0, maxFields)
	return r.members(func(name string) bool {
		if len(seen) == maxFields || slices.Contains(seen, name) {
			return false
		}
		seen = append(seen, name)
		return take(name)
	})
}

// into takes a string.
func (r *reader) into(s *string) bool {
	text, _, ok := r.string()
	*s = text
	return ok
}

// texts takes a list of strings.
func (r *reader) texts(list *[]string) bool {
	*list = []string{}
	ok := r.open('[')
	for first := true; ok && !r.end(']'); first = false {
		var s string
		ok = (first || r.take(',')) && r.into(&s)
		*list = append(*list, s)
	}
	return ok
}

// objectOrNull takes an object; null is nil.
func (r *reader) objectOrNull(m *map[string]any) (ok bool) {
	if r.next() == 'n' {
		return r.word("null")
	}
	*m, ok = r.object()
	return ok
}

// skip takes a field that nobody asks for.
func (r *reader) skip() bool {
	_, ok := r.value()
	return ok
}
