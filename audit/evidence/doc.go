// Package evidence packs records of audit logs into one file that anybody can verify offline with a public key.
//
// An archive holds the records that were asked for, the leaf hashes of all other records of the same shards, and the
// signed checkpoints: from records and hashes together follows the root that was signed, so no record can be changed,
// added, moved or dropped unnoticed. It trusts the keys that the auditor brings, and nothing in the archive. Where only a
// period was asked for, that nothing is missing in it is proved too: its records are contiguous, and the ones just before
// and after it are there. Where a filter chose, that the hidden records did not match rests on whoever made the archive, and
// the verification says so.
//
// By what commits and requests were judged, signer lists, configured trust and policies, is in the archive too, byte for byte under the digests that the
// records name.
//
// Archives are ZIP files (APPNOTE 6.3), so that an auditor opens them anywhere, and deterministic: the same logs and the same question
// make the same bytes.
package evidence

import (
	"time"

	"github.com/commitgate/commitgate/audit"
)

// Format is what the manifest of an archive says it is.
const Format = "commitgate.dev/audit-evidence/v1"

// Names of the files in an archive. Those of a shard lie in logs/NUMBER/SHARD/.
const (
	manifestName    = "manifest.json"
	populationName  = "population.csv"
	controlsName    = "controls.json"
	keysName        = "keys.txt"
	readmeName      = "VERIFY.md"
	attachedFolder  = "attached/"
	recordsName     = "records.jsonl"
	hiddenName      = "hidden.leaves"
	checkpointName  = "checkpoint"
	checkpointsName = "checkpoints/"
)

// Manifest says what an archive holds. What it says of the logs is checked against their checkpoints; for the rest, such as the question, it may be
// signed with the keys of the logs (DSSE, in-toto statement v1).
type Manifest struct {
	Format string   `json:"format"`
	Asked  Question `json:"asked"`
	Count  uint64   `json:"count"` // records of the population
	Logs   []Log    `json:"logs"`
	Files  []File   `json:"files"` // all others, by name
	// Missing are the digests that records name and that were not kept beside the log. An archive with such is not whole.
	Missing []string `json:"missing,omitempty"`
}

// Question is what was asked for: the fields of audit.Filter.
type Question struct {
	From      *time.Time   `json:"from,omitempty"`
	To        *time.Time   `json:"to,omitempty"`
	Namespace string       `json:"namespace,omitempty"`
	Kind      string       `json:"kind,omitempty"`
	Name      string       `json:"name,omitempty"`
	Commit    string       `json:"commit,omitempty"`
	Path      string       `json:"path,omitempty"`
	Person    string       `json:"person,omitempty"`
	Outcome   string       `json:"outcome,omitempty"`
	Reason    string       `json:"reason,omitempty"`
	Control   string       `json:"control,omitempty"`
	Types     []audit.Type `json:"types,omitempty"`
}

// Log is one log of the archive.
type Log struct {
	Origin string  `json:"origin"`
	Shards []Shard `json:"shards"`
}

// Shard is one shard of a log, as far as it is sealed.
type Shard struct {
	Name   string `json:"name"`
	Folder string `json:"folder"` // of its files in the archive
	First  uint64 `json:"first"`  // seq of its first record
	Size   int64  `json:"size"`   // records under its checkpoint
	Root   string `json:"root"`
	Shown  int64  `json:"shown"` // records in the archive; the others are there as hashes
}

// File is one file of the archive.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

func questionOf(f audit.Filter) Question {
	q := Question{Namespace: f.Namespace, Kind: f.Kind, Name: f.Name, Commit: f.Commit, Path: f.Path, Person: f.Person,
		Outcome: f.Outcome, Reason: f.Reason, Control: f.Control, Types: f.Types}
	if !f.From.IsZero() {
		from := f.From.UTC()
		q.From = &from
	}
	if !f.To.IsZero() {
		to := f.To.UTC()
		q.To = &to
	}
	return q
}

// filter is the question as a filter.
func (q Question) filter() audit.Filter {
	f := audit.Filter{Namespace: q.Namespace, Kind: q.Kind, Name: q.Name, Commit: q.Commit, Path: q.Path, Person: q.Person,
		Outcome: q.Outcome, Reason: q.Reason, Control: q.Control, Types: q.Types}
	if q.From != nil {
		f.From = *q.From
	}
	if q.To != nil {
		f.To = *q.To
	}
	return f
}

// periodOnly tells whether nothing but time was asked for, so that completeness can be proved.
func (q Question) periodOnly() bool {
	f := q.filter()
	f.From, f.To = time.Time{}, time.Time{}
	return f.All()
}
