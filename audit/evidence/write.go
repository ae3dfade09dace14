package evidence

import (
	"archive/zip"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/audit/export"
	"github.com/commitgate/commitgate/audit/seal"
)

//go:embed VERIFY.md
var readme []byte

// ErrNotSealed is returned when a shard that was asked for has no checkpoint: there is nothing to verify it by.
var ErrNotSealed = errors.New("no checkpoint: only what is sealed can be evidence")

// Options of an archive.
type Options struct {
	Filter audit.Filter
	// Keys are the verifier keys of the logs and witnesses, to put beside the records for convenience. An auditor gets them
	// from somewhere else.
	Keys []string
	// Attach are files to add, by name: a bundle of the Git repository, an approval. What they say is not verified.
	Attach map[string]string
	// Signers sign the manifest: with the keys of the logs, so that whoever verifies these verifies it. None leaves it unsigned.
	Signers []note.Signer
}

// Write packs the logs in the given folders. It reads only what their checkpoints cover.
func Write(ctx context.Context, w io.Writer, dirs []string, o Options) (Manifest, error) {
	a := &archive{zip: zip.NewWriter(w), m: Manifest{Format: Format, Asked: questionOf(o.Filter)}, filter: o.Filter, references: newReferences()}
	logs, err := export.OpenLogs(dirs, audit.Filter{})
	if err != nil {
		return a.m, err
	}
	slices.SortFunc(logs, func(x, y export.Log) int { return cmp.Compare(x.Origin, y.Origin) })
	if a.population, err = os.CreateTemp("", "population-*"); err != nil {
		return a.m, err
	}
	defer os.Remove(a.population.Name())
	defer a.population.Close()
	if err := (export.CSV{}).Header(a.population); err != nil {
		return a.m, err
	}
	for i, l := range logs {
		if err := a.log(ctx, i, l); err != nil {
			return a.m, fmt.Errorf("%s: %w", l.Dir, err)
		}
	}
	if err := a.exhibits(dirs); err != nil {
		return a.m, fmt.Errorf("%s: %w", exhibitsFolder, err)
	}
	if err := a.rest(o); err != nil {
		return a.m, err
	}
	return a.m, a.zip.Close()
}

// archive is one that is being written.
type archive struct {
	zip        *zip.Writer
	m          Manifest
	filter     audit.Filter
	population *os.File
	references references
}

// entry is a file of the archive that is being written.
type entry struct {
	io.Writer
	name string
	sum  hash.Hash
	size int64
}

// create begins a file. No times and no modes: the same content makes the same archive.
func (a *archive) create(name string) (*entry, error) {
	w, err := a.zip.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate})
	return &entry{Writer: w, name: name, sum: sha256.New()}, err
}

func (e *entry) Write(p []byte) (int, error) {
	n, err := e.Writer.Write(p)
	e.sum.Write(p[:n])
	e.size += int64(n)
	return n, err
}

// done notes a finished file in the manifest.
func (a *archive) done(e *entry) {
	a.m.Files = append(a.m.Files, File{e.name, e.size, hex.EncodeToString(e.sum.Sum(nil))})
}

// add writes a file whole.
func (a *archive) add(name string, r io.Reader) error {
	e, err := a.create(name)
	if err != nil {
		return err
	}
	if _, err := io.Copy(e, r); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	a.done(e)
	return nil
}

// log packs the shards of one log that can hold what was asked for.
func (a *archive) log(ctx context.Context, number int, l export.Log) error {
	wanted, err := audit.Between(l.Segments, a.filter.From, a.filter.To)
	if err != nil {
		return err
	}
	out := Log{Origin: l.Origin}
	for len(l.Segments) > 0 {
		name := l.Segments[0].Shard
		n := 0
		for n < len(l.Segments) && l.Segments[n].Shard == name {
			n++
		}
		segments := l.Segments[:n]
		l.Segments = l.Segments[n:]
		if !slices.ContainsFunc(wanted, func(s audit.Segment) bool { return s.Shard == name }) {
			continue
		}
		sh := Shard{Name: name, Folder: fmt.Sprintf("logs/%d/%s/", number, name), First: segments[0].First}
		if err := a.shard(ctx, &sh, l.Dir, segments); err != nil {
			return fmt.Errorf("shard %s: %w", name, err)
		}
		out.Shards = append(out.Shards, sh)
	}
	a.m.Logs = append(a.m.Logs, out)
	return nil
}

// shard packs one shard.
func (a *archive) shard(ctx context.Context, sh *Shard, dir string, segments []audit.Segment) error {
	folder := filepath.Join(dir, sh.Name)
	b, err := os.ReadFile(filepath.Join(folder, checkpointName))
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotSealed
	}
	if err != nil {
		return err
	}
	cp, err := seal.Unverified(b)
	if err != nil {
		return err
	}
	sh.Size, sh.Root = cp.Size, cp.Root.String()
	if err := a.add(sh.Folder+checkpointName, bytes.NewReader(b)); err != nil {
		return err
	}
	history, err := os.ReadDir(filepath.Join(folder, strings.TrimSuffix(checkpointsName, "/")))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, h := range history {
		b, err := os.ReadFile(filepath.Join(folder, checkpointsName, h.Name()))
		if err != nil {
			return err
		}
		if old, err := seal.Unverified(b); err != nil || old.Size > cp.Size {
			continue // made since
		}
		if err := a.add(sh.Folder+checkpointsName+h.Name(), bytes.NewReader(b)); err != nil {
			return err
		}
	}
	return a.records(ctx, sh, segments)
}

// records writes the records that were asked for, and the hashes of the others.
func (a *archive) records(ctx context.Context, sh *Shard, segments []audit.Segment) error {
	show, err := a.chooser(sh, segments)
	if err != nil {
		return err
	}
	hidden, err := os.CreateTemp("", "hidden-*")
	if err != nil {
		return err
	}
	defer os.Remove(hidden.Name())
	defer hidden.Close()
	out, err := a.create(sh.Folder + recordsName)
	if err != nil {
		return err
	}
	var tree seal.Range
	for line, err := range audit.Records(segments) {
		if err != nil {
			return err
		}
		if tree.Size() == sh.Size {
			break
		}
		if tree.Size()%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		r, err := line.Decode()
		if err != nil {
			return err
		}
		leaf := tlog.RecordHash(line.Text)
		shown := show(tree.Size(), &r)
		if tree.Add(leaf); !shown {
			if _, err := hidden.Write(leaf[:]); err != nil {
				return err
			}
			continue
		}
		sh.Shown++
		a.references.add(&r)
		if _, err := out.Write(append(slices.Clone(line.Text), '\n')); err != nil {
			return err
		}
		if err := a.populate(line.Text, &r); err != nil {
			return err
		}
	}
	a.done(out)
	if tree.Size() != sh.Size || tree.Root().String() != sh.Root {
		return fmt.Errorf("%w: run `commitgate audit verify` on the log", seal.ErrTampered)
	}
	if _, err := hidden.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return a.add(sh.Folder+hiddenName, hidden)
}

// populate adds a record to the table, if it was asked for and is not only there to show where the period ends.
func (a *archive) populate(line []byte, r *audit.Record) error {
	if !a.filter.Matches(r) {
		return nil
	}
	row, err := export.CSV{}.Record(nil, line, r)
	if err == nil {
		a.m.Count++
		_, err = a.population.Write(row)
	}
	return err
}

// chooser tells which records of a shard are shown. Of a period, all from the record before its first to the one after
// its last.
func (a *archive) chooser(sh *Shard, segments []audit.Segment) (func(int64, *audit.Record) bool, error) {
	if !a.m.Asked.periodOnly() {
		return func(_ int64, r *audit.Record) bool { return a.filter.Matches(r) }, nil
	}
	if a.filter.From.IsZero() && a.filter.To.IsZero() {
		return func(int64, *audit.Record) bool { return true }, nil
	}
	first, last, i := int64(-1), int64(-1), int64(0)
	before := int64(-1) // the last record before the period, if nothing is in it
	for line, err := range audit.Records(segments) {
		if err != nil {
			return nil, err
		}
		if i == sh.Size {
			break
		}
		f, err := audit.ParseFrame(line.Text)
		if err != nil {
			return nil, err
		}
		switch {
		case a.inPeriod(f.Time):
			if first < 0 {
				first = i
			}
			last = i
		case first < 0 && f.Time.Before(a.filter.From):
			before = i
		}
		i++
	}
	if first < 0 {
		first, last = before+1, before // the two neighbours of nothing
	}
	return func(i int64, _ *audit.Record) bool { return i >= first-1 && i <= last+1 }, nil
}

func (a *archive) inPeriod(t time.Time) bool {
	f := audit.Filter{From: a.filter.From, To: a.filter.To}
	return f.Matches(&audit.Record{Time: t})
}

// rest writes what is not of one shard.
func (a *archive) rest(o Options) error {
	if _, err := a.population.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := a.add(populationName, a.population); err != nil {
		return err
	}
	controls, err := json.MarshalIndent(audit.Controls(), "", "  ")
	if err != nil {
		return err
	}
	if err := a.add(controlsName, bytes.NewReader(append(controls, '\n'))); err != nil {
		return err
	}
	if len(o.Keys) > 0 {
		if err := a.add(keysName, strings.NewReader(strings.Join(o.Keys, "\n")+"\n")); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(o.Attach)) {
		if err := a.attach(name, o.Attach[name]); err != nil {
			return err
		}
	}
	if err := a.add(readmeName, bytes.NewReader(readme)); err != nil {
		return err
	}
	slices.SortFunc(a.m.Files, func(x, y File) int { return cmp.Compare(x.Name, y.Name) })
	manifest, err := json.MarshalIndent(a.m, "", "  ")
	if err != nil {
		return err
	}
	manifest = append(manifest, '\n')
	e, err := a.create(manifestName)
	if err != nil {
		return err
	}
	if _, err := e.Write(manifest); err != nil {
		return err
	}
	return a.sign(manifest, o.Signers)
}

// attach adds somebody's file.
func (a *archive) attach(name, path string) error {
	if !fs.ValidPath(name) {
		return fmt.Errorf("attached file %q: not a name", name)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return a.add(attachedFolder+name, f)
}
