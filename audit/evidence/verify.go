package evidence

import (
	"archive/zip"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/audit/export"
	"github.com/commitgate/commitgate/audit/seal"
)

// ErrNotEvidence is returned when a file is no archive of this kind.
var ErrNotEvidence = errors.New("not an evidence archive")

// maxManifest bounds what is read into memory: the manifest, and one checkpoint.
const maxManifest = 64 << 20

// maxProblems is how many problems a Report names; the first is what matters.
const maxProblems = 20

// Report is what verification found.
type Report struct {
	Asked  Question  `json:"asked"`
	Count  uint64    `json:"count"`  // records of the population
	Shown  int64     `json:"shown"`  // records in the archive
	Hidden int64     `json:"hidden"` // records of which only the hash is there
	From   time.Time `json:"from"`   // of the records
	To     time.Time `json:"to"`
	// Complete: no record of the period can be missing. False where a filter chose.
	Complete bool          `json:"complete"`
	Shards   []ShardReport `json:"shards"`
	// SignedBy are those of the keys that signed the manifest.
	SignedBy []string `json:"signedBy,omitempty"`
	Exhibits int      `json:"exhibits"` // that records name, and that are there
	// Judged says by which signer list each commit was judged that the records tell of.
	Judged   []Judged        `json:"judged,omitempty"`
	Problems []audit.Problem `json:"problems,omitempty"`
	Notes    []string        `json:"notes,omitempty"`
}

// ShardReport is what was found about a shard.
type ShardReport struct {
	Origin   string   `json:"origin"`
	First    uint64   `json:"first"`
	Size     int64    `json:"size"`
	Root     string   `json:"root"`
	Shown    int64    `json:"shown"`
	SignedBy []string `json:"signedBy,omitempty"`
}

// Verify checks the archive at path with the keys of its logs and witnesses, and with checkpoints that were kept
// somewhere else. The error is about reading; what is wrong
// with the archive is in the Report. Memory does not grow with the number of records.
func Verify(path string, verifiers []note.Verifier, anchors ...[]byte) (Report, error) {
	z, err := zip.OpenReader(path)
	if errors.Is(err, zip.ErrFormat) {
		return Report{}, fmt.Errorf("%s: %w", path, ErrNotEvidence)
	}
	if err != nil {
		return Report{}, err
	}
	defer z.Close()
	v := &verifier{files: map[string]*zip.File{}, keys: verifiers, anchors: anchors, population: sha256.New(), references: newReferences()}
	for _, f := range z.File {
		if v.files[f.Name] != nil {
			v.problem(0, f.Name, "twice in the archive: two readers would see two archives")
		}
		v.files[f.Name] = f
	}
	if err := v.readManifest(); err != nil {
		return v.Report, fmt.Errorf("%s: %w", path, err)
	}
	v.sums()
	v.signature()
	v.Complete = v.Asked.periodOnly()
	if err := (export.CSV{}).Header(v.population); err != nil {
		return v.Report, err
	}
	for _, l := range v.m.Logs {
		v.log(l)
	}
	v.exhibits()
	v.compare()
	v.conclude()
	return v.Report, nil
}

// verifier walks through an archive.
type verifier struct {
	Report
	m          Manifest
	files      map[string]*zip.File
	keys       []note.Verifier
	anchors    [][]byte
	population hash.Hash
	matched    uint64 // records of the population that were seen
	references references
	parser     audit.Parser
}

func (v *verifier) problem(seq uint64, file, what string) {
	if len(v.Problems) < maxProblems {
		v.Problems = append(v.Problems, audit.Problem{Seq: seq, File: file, What: what})
	}
}

// small reads a small file of the archive.
func (v *verifier) small(name string) ([]byte, error) {
	f := v.files[name]
	if f == nil {
		return nil, errors.New("missing")
	}
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxManifest+1))
	if len(b) > maxManifest {
		return nil, errors.New("too long")
	}
	return b, err
}

func (v *verifier) readManifest() error {
	b, err := v.small(manifestName)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrNotEvidence, manifestName, err)
	}
	if err := json.Unmarshal(b, &v.m); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrNotEvidence, manifestName, err)
	}
	if v.m.Format != Format {
		return fmt.Errorf("%w: format %q: want %q", ErrNotEvidence, v.m.Format, Format)
	}
	v.Asked, v.Count = v.m.Asked, v.m.Count
	return nil
}

// sums checks that the files are those of the manifest.
func (v *verifier) sums() {
	listed := map[string]bool{manifestName: true, signatureName: true}
	for _, f := range v.m.Files {
		listed[f.Name] = true
		r, err := v.open(f.Name)
		if err != nil {
			v.problem(0, f.Name, err.Error())
			continue
		}
		sum := sha256.New()
		n, err := io.Copy(sum, r)
		r.Close()
		if err != nil || n != f.Size || hex.EncodeToString(sum.Sum(nil)) != f.SHA256 {
			v.problem(0, f.Name, "altered: it is not what the manifest lists")
		}
	}
	for name := range v.files {
		if !listed[name] {
			v.problem(0, name, "the manifest does not list it")
		}
	}
}

func (v *verifier) open(name string) (io.ReadCloser, error) {
	f := v.files[name]
	if f == nil {
		return nil, errors.New("missing")
	}
	return f.Open()
}

// log checks the shards of a log, and that none is missing between them.
func (v *verifier) log(l Log) {
	next := uint64(0)
	for i, sh := range l.Shards {
		if next != 0 && sh.First != next {
			v.problem(next, sh.Folder, fmt.Sprintf("records %d to %d are missing: the shard before ends, and this one begins with %d", next, sh.First-1, sh.First))
		}
		next = sh.First + uint64(sh.Size)
		v.shard(l.Origin, sh, i == 0)
	}
}

// claims reads the checkpoints of a shard, the latest first.
func (v *verifier) claims(origin string, sh Shard) (claims []*seal.Checkpoint) {
	names := []string{sh.Folder + checkpointName}
	for name := range v.files {
		if strings.HasPrefix(name, sh.Folder+checkpointsName) {
			names = append(names, name)
		}
	}
	slices.Sort(names[1:])
	for _, name := range names {
		b, err := v.small(name)
		var cp *seal.Checkpoint
		if err == nil {
			cp, err = v.checkpoint(b)
		}
		switch {
		case err != nil:
			v.problem(0, name, "not a checkpoint that a known key signed: "+err.Error())
		case cp.Origin != origin+"/"+sh.Name:
			v.problem(0, name, fmt.Sprintf("a checkpoint of another log: %s", cp.Origin))
		default:
			claims = append(claims, cp)
			continue
		}
		if name == names[0] {
			return nil
		}
	}
	for i, b := range v.anchors {
		cp, err := v.checkpoint(b)
		switch name := fmt.Sprintf("anchor %d", i+1); {
		case err != nil:
			v.problem(0, name, "not a checkpoint that a known key signed: "+err.Error())
		case cp.Origin != origin+"/"+sh.Name:
		case cp.Size > sh.Size:
			v.problem(sh.First+uint64(sh.Size), name, fmt.Sprintf("cut off: it was signed for %d records, the archive ends with %d", cp.Size, sh.Size))
		default:
			claims = append(claims, cp)
		}
	}
	return claims
}

func (v *verifier) checkpoint(b []byte) (*seal.Checkpoint, error) {
	if len(v.keys) > 0 {
		return seal.ParseCheckpoint(b, v.keys)
	}
	return seal.Unverified(b)
}

// shard computes the root of a shard from what is shown and what is hidden, and compares it with what was signed.
func (v *verifier) shard(origin string, sh Shard, first bool) {
	claims := v.claims(origin, sh)
	if claims == nil {
		return
	}
	latest := claims[0]
	if latest.Size != sh.Size || latest.Root.String() != sh.Root {
		v.problem(0, sh.Folder+checkpointName, "the manifest names another size or root")
		return
	}
	slices.SortFunc(claims, func(a, b *seal.Checkpoint) int { return int(a.Size - b.Size) })
	w := walk{verifier: v, sh: sh, claims: claims, first: first}
	if err := w.run(); err != nil {
		v.problem(w.seq(), sh.Folder+recordsName, err.Error())
	}
	report := ShardReport{Origin: origin + "/" + sh.Name, First: sh.First, Size: sh.Size, Root: sh.Root, Shown: w.shown, SignedBy: latest.SignedBy}
	v.Shards = append(v.Shards, report)
	v.Shown += w.shown
	v.Hidden += sh.Size - w.shown
}

// walk goes through the records of one shard.
type walk struct {
	*verifier
	sh     Shard
	claims []*seal.Checkpoint // by size
	tree   seal.Range
	hidden *bufio.Reader
	shown  int64
	first  bool // the shard is the first of its log in the archive
	last   audit.Frame
}

// seq is that of the record that comes next.
func (w *walk) seq() uint64 { return w.sh.First + uint64(w.tree.Size()) }

func (w *walk) run() error {
	records, err := w.open(w.sh.Folder + recordsName)
	if err != nil {
		return err
	}
	defer records.Close()
	hidden, err := w.open(w.sh.Folder + hiddenName)
	if err != nil {
		return fmt.Errorf("%s: %w", hiddenName, err)
	}
	defer hidden.Close()
	w.hidden = bufio.NewReader(hidden)
	in := bufio.NewReaderSize(records, 4*audit.MaxRecord)
	for {
		line, err := in.ReadSlice('\n')
		if err == io.EOF && len(line) == 0 {
			break
		}
		if err != nil {
			return errors.New("altered: a line does not end, or is longer than a record can be")
		}
		if err := w.record(bytes.TrimSuffix(line, []byte{'\n'})); err != nil {
			return err
		}
	}
	if err := w.skip(w.sh.Size - w.tree.Size()); err != nil {
		return err
	}
	if len(w.claims) > 0 {
		return fmt.Errorf("cut off: a checkpoint was signed for %d records", w.claims[0].Size)
	}
	if _, err := w.hidden.ReadByte(); err != io.EOF {
		return fmt.Errorf("%s: more hashes than records", hiddenName)
	}
	w.period()
	return nil
}

// record takes one record that is shown.
func (w *walk) record(line []byte) error {
	f, err := audit.ParseFrame(line)
	if err != nil {
		return fmt.Errorf("altered: not a record: %w", err)
	}
	if !f.Sound() {
		return errors.New("altered: its content does not match its sum")
	}
	if f.Seq < w.seq() || f.Seq >= w.sh.First+uint64(w.sh.Size) {
		return fmt.Errorf("out of place: record %d", f.Seq)
	}
	gap := int64(f.Seq - w.seq())
	if err := w.skip(gap); err != nil {
		return err
	}
	if err := w.add(tlog.RecordHash(line)); err != nil {
		return err
	}
	r, err := w.parser.Parse(line)
	if err != nil {
		return fmt.Errorf("altered: not a record: %w", err)
	}
	filter := w.Asked.filter()
	matches := filter.Matches(r)
	if !matches && !w.Asked.periodOnly() {
		return fmt.Errorf("record %d is not what was asked for", f.Seq)
	}
	w.references.add(r)
	w.inPeriod(f, gap)
	if matches {
		row, err := export.CSV{}.Record(nil, line, r)
		if err != nil {
			return err
		}
		w.population.Write(row)
		w.matched++
		if w.From.IsZero() || f.Time.Before(w.From) {
			w.From = f.Time
		}
		if f.Time.After(w.To) {
			w.To = f.Time
		}
	}
	w.shown++
	w.last = f
	return nil
}

// inPeriod checks that the records of a period are contiguous and that the one before them is older.
func (w *walk) inPeriod(f audit.Frame, gap int64) {
	if !w.Complete {
		return
	}
	switch {
	case gap > 0 && w.shown > 0:
		w.missing(f.Seq-uint64(gap), "records are hidden within the period")
	case w.first && w.shown == 0 && gap == 0 && f.Seq > 1 && !f.Time.Before(w.Asked.filter().From):
		w.Complete = false
		w.Notes = append(w.Notes, fmt.Sprintf("%s begins with record %d: what came before was removed under the retention, or left out", w.sh.Folder, f.Seq))
	case w.shown == 0 && gap > 0 && !f.Time.Before(w.Asked.filter().From):
		w.missing(f.Seq, "the record before the period is hidden, so that it may begin earlier")
	}
}

func (w *walk) missing(seq uint64, what string) {
	w.Complete = false
	w.problem(seq, w.sh.Folder+recordsName, what)
}

// period checks that what comes after the last record is younger than the period.
func (w *walk) period() {
	if !w.Complete {
		return
	}
	to := w.Asked.filter().To
	end := w.sh.First + uint64(w.sh.Size) - 1
	switch {
	case w.shown == 0:
		w.missing(w.sh.First, "no record is shown that tells where the period is")
	case w.last.Seq < end && (to.IsZero() || w.last.Time.Before(to)):
		w.missing(w.last.Seq+1, "the record after the period is hidden, so that it may end later")
	case w.last.Seq == end && !to.IsZero() && w.last.Time.Before(to):
		w.Notes = append(w.Notes, fmt.Sprintf("%s ends with record %d of %s, before the end of the period: what was sealed later is not here",
			w.sh.Folder, end, w.last.Time.Format(time.RFC3339)))
	}
}

// skip takes n hidden records.
func (w *walk) skip(n int64) error {
	for range n {
		var leaf tlog.Hash
		if _, err := io.ReadFull(w.hidden, leaf[:]); err != nil {
			return fmt.Errorf("%s: fewer hashes than records: record %d is missing", hiddenName, w.seq())
		}
		if err := w.add(leaf); err != nil {
			return err
		}
	}
	return nil
}

// add takes a leaf, and compares the root with what was signed for this size.
func (w *walk) add(leaf tlog.Hash) error {
	w.tree.Add(leaf)
	for len(w.claims) > 0 && w.claims[0].Size <= w.tree.Size() {
		if w.claims[0].Size == w.tree.Size() && w.claims[0].Root != w.tree.Root() {
			return fmt.Errorf("not what was sealed: a record up to this one differs from what the checkpoint of %d records was signed for", w.claims[0].Size)
		}
		w.claims = w.claims[1:]
	}
	return nil
}

// compare checks the table against the records.
func (v *verifier) compare() {
	if len(v.Problems) > 0 {
		return // it was computed from what is not sound
	}
	if v.matched != v.m.Count {
		v.problem(0, manifestName, fmt.Sprintf("it counts %d records, there are %d", v.m.Count, v.matched))
	}
	i := slices.IndexFunc(v.m.Files, func(f File) bool { return f.Name == populationName })
	switch {
	case i < 0:
		v.problem(0, populationName, "missing")
	case v.m.Files[i].SHA256 == hex.EncodeToString(v.population.Sum(nil)):
	case v.sameColumns():
		v.problem(0, populationName, "altered: the table is not what the records say")
	default:
		v.Notes = append(v.Notes, "population.csv has other columns than this version writes: it was not compared with the records")
	}
}

// sameColumns tells whether the table has the columns that this version writes.
func (v *verifier) sameColumns() bool {
	var want bytes.Buffer
	r, err := v.open(populationName)
	if err != nil || (export.CSV{}).Header(&want) != nil {
		return true
	}
	defer r.Close()
	have := make([]byte, want.Len())
	_, err = io.ReadFull(r, have)
	return err == nil && bytes.Equal(have, want.Bytes())
}

// conclude says what was proved.
func (v *verifier) conclude() {
	if len(v.keys) == 0 {
		v.Notes = append(v.Notes, "no key was given: the signatures of checkpoints were not checked, so anybody can have made this archive")
	}
	if len(v.Problems) > 0 {
		v.Complete = false
		return
	}
	if !v.Asked.periodOnly() {
		v.Notes = append(v.Notes, fmt.Sprintf("a filter chose: that the %d hidden records do not match it rests on whoever made the archive", v.Hidden))
	}
	for name := range v.files {
		if strings.HasPrefix(name, attachedFolder) {
			v.Notes = append(v.Notes, name+": whole, but what it says was not verified")
		}
	}
	slices.Sort(v.Notes)
}
