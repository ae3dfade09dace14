// Package blame answers, for each field of a live object, which commit, author and signer put it there, or who else did: `git blame`, for a
// cluster. It trusts what package track verified; what managedFields say is a hint for people and marked as one.
package blame

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/scan"
	"github.com/commitgate/commitgate/snapshot"
	"github.com/commitgate/commitgate/track"
)

// Report is the answer for one live object.
type Report struct {
	Key   manifest.Key
	State scan.State
	Why   string
	// Entry is the declaration, nil if Git does not declare the object; Owner is then who is said to have made it, nil if nobody is.
	Entry *snapshot.Entry
	Owner *live.Owner
	// Fields are the leaves of the live object, and those that Git declares and it lacks, in the order of the accounting.
	Fields []Field
}

// Field is one leaf of a live object and where it comes from.
type Field struct {
	Path string
	// Why is the reason of the accounting; "" if nothing explains the field.
	Why account.Why
	// Value is what the live object holds, Declared what Git says where that is something else. Both are nil if Secret.
	Value, Declared any
	// Changed: Git declares another value. Missing: Git declares the field, and the live object does not hold it.
	Changed, Missing bool
	Secret           bool
	// Version is the commit that gave the field the value that Git declares; the zero value for fields that it does not.
	Version track.Version
	// Manager and Time are who says to have written a field that Git does not explain.
	Manager string
	Time    time.Time
}

// FromGit tells whether Git says what the field holds.
func (f *Field) FromGit() bool {
	return f.Why == account.Declared || f.Why == account.Opaque || f.Why == account.Decrypted
}

// Object explains every field of a live object.
func Object(ctx context.Context, past *track.Past, judge *scan.Judge, object map[string]any) (*Report, error) {
	f, owner := judge.Object(object)
	r := &Report{Key: f.Key, State: f.State, Why: f.Why, Entry: f.Entry, Owner: owner}
	if f.Entry == nil {
		r.Fields = unexplained(judge, f.Key, object)
		return r, nil
	}
	declared := f.Entry.Applied()
	change := account.Change{Object: object, Exempt: judge.Exempt(f.Entry)}
	missing := f.Entry.Account.Explain(change).Missing
	for _, leaf := range f.Entry.Account.Fields(change) {
		field := Field{Path: leaf.Path, Why: leaf.Why, Secret: scan.Secret(f.Entry, leaf.Path), Changed: slices.Contains(missing, leaf.Path)}
		field.Value, _ = account.Value(object, leaf.Path)
		if leaf.Why == "" || leaf.Why == account.Exempt {
			field.Declared, _ = account.Value(declared, leaf.Path)
			field.Manager, field.Time = account.ManagedBy(object, leaf.Path)
		}
		r.Fields = append(r.Fields, field)
	}
	for _, path := range missing {
		if _, there := account.Value(object, path); !there {
			field := Field{Path: path, Missing: true, Secret: scan.Secret(f.Entry, path)}
			field.Declared, _ = account.Value(declared, path)
			r.Fields = append(r.Fields, field)
		}
	}
	if err := r.attribute(ctx, past); err != nil {
		return nil, err
	}
	for i := range r.Fields {
		if f := &r.Fields[i]; f.Secret {
			f.Value, f.Declared = nil, nil
		}
	}
	return r, nil
}

// unexplained are the leaves of an object that Git does not declare, with who says to have set them.
func unexplained(judge *scan.Judge, k manifest.Key, object map[string]any) []Field {
	var out []Field
	for _, path := range judge.Truth.Types.Differences(map[string]any{"apiVersion": object["apiVersion"], "kind": object["kind"]}, object) {
		f := Field{Path: path, Secret: k.Group == "" && k.Kind == "Secret" && scan.SecretPath(path)}
		if !f.Secret {
			f.Value, _ = account.Value(object, path)
		}
		f.Manager, f.Time = account.ManagedBy(object, path)
		out = append(out, f)
	}
	return out
}

// attribute finds, for each declared field, the commit that gave it its value: the oldest since which it has been the same.
func (r *Report) attribute(ctx context.Context, past *track.Past) error {
	content := r.Entry.Content.Map()
	pending := make(map[int]any) // by index in Fields: the value that Git declares now
	for i, f := range r.Fields {
		if f.FromGit() || f.Changed || f.Missing || f.Declared != nil {
			pending[i], _ = declaredValue(content, f.Path)
		}
	}
	var newer track.Version
	for v, err := range past.Versions(ctx, r.Entry) {
		if err != nil {
			return err
		}
		content = v.Object.Content.Map()
		for i, value := range pending {
			was, there := declaredValue(content, r.Fields[i].Path)
			if newer.Commit == nil || there && reflect.DeepEqual(was, value) {
				r.Fields[i].Version = v
				continue
			}
			delete(pending, i) // the newer version stays: it brought the value
		}
		newer = v
	}
	return nil
}

// declaredValue is what a declaration says of a field; a Secret may say it as stringData.
func declaredValue(content map[string]any, path string) (any, bool) {
	if v, ok := account.Value(content, path); ok {
		return v, true
	}
	if content["kind"] == "Secret" && strings.HasPrefix(path, "data[") {
		return account.Value(content, "stringData"+strings.TrimPrefix(path, "data"))
	}
	return nil, false
}
