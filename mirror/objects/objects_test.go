package objects

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/commitgate/commitgate/git"
)

// entry is an object of a pack that a test makes by hand.
type entry struct {
	kind Kind
	size int    // as the header claims; -1 is the truth
	back int64  // of an offsetDelta
	ref  name   // of a refDelta
	data []byte // to be deflated
	raw  []byte // instead of data: goes in as it is
}

func blob(content string) entry { return entry{kind: Blob, size: -1, data: []byte(content)} }

func makePack(f Format, count int, entries ...entry) []byte {
	h := newHash(f)
	var out bytes.Buffer
	w := io.MultiWriter(&out, h)
	w.Write(packHead(count))
	for _, e := range entries {
		size := e.size
		if size < 0 {
			size = len(e.data)
		}
		w.Write(entryHeader(e.kind, size))
		switch e.kind {
		case offsetDelta:
			w.Write(offsetBytes(e.back))
		case refDelta:
			w.Write(e.ref[:f])
		}
		if e.raw != nil {
			w.Write(e.raw)
			continue
		}
		w.Write(deflate(e.data))
	}
	out.Write(h.Sum(nil))
	return out.Bytes()
}

func deflate(data []byte) []byte {
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	z.Write(data)
	z.Close()
	return b.Bytes()
}

// offsetBytes is the distance to a delta's base, as gitformat-pack(5) writes it.
func offsetBytes(n int64) []byte {
	b := []byte{byte(n & 0x7f)}
	for n >>= 7; n > 0; n >>= 7 {
		n--
		b = append([]byte{0x80 | byte(n&0x7f)}, b...)
	}
	return b
}

// makeDelta copies the first n bytes of a base and appends text.
func makeDelta(base, n int, text string) []byte {
	d := binary.AppendUvarint(nil, uint64(base))
	d = binary.AppendUvarint(d, uint64(n+len(text)))
	if n > 0 {
		d = append(d, 0x80|0x10|0x20, byte(n), byte(n>>8))
	}
	if text != "" {
		d = append(append(d, byte(len(text))), text...)
	}
	return d
}

func newStore(t testing.TB, f Format) *Store {
	t.Helper()
	s, err := OpenWritable(t.TempDir(), f, Limits{Object: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func idOf(t testing.TB, f Format, k Kind, content string) git.ID {
	t.Helper()
	n, err := nameOf(f, k, []byte(content))
	if err != nil {
		t.Fatal(err)
	}
	return n.id(f)
}

func TestDeltasOfEveryKindAreResolved(t *testing.T) {
	for _, f := range []Format{SHA1, SHA256} {
		t.Run(f.String(), func(t *testing.T) {
			s := newStore(t, f)
			first, err := s.Receive(t.Context(), bytes.NewReader(makePack(f, 1, blob("outside "))), Receipt{MaxBytes: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			if err := first.Keep(); err != nil {
				t.Fatal(err)
			}
			outside, _ := nameOf(f, Blob, []byte("outside "))
			inside, _ := nameOf(f, Blob, []byte("base a"))
			late, _ := nameOf(f, Blob, []byte("base ab"))
			base := blob("base ")
			baseLen := int64(len(entryHeader(Blob, 5)) + len(deflate([]byte("base "))))
			pack := makePack(f, 6,
				entry{kind: refDelta, size: -1, ref: late, data: makeDelta(7, 7, "c")}, // its base comes later, and is a delta
				base,
				entry{kind: offsetDelta, size: -1, back: baseLen, data: makeDelta(5, 5, "a")},
				entry{kind: refDelta, size: -1, ref: inside, data: makeDelta(6, 6, "b")},
				entry{kind: refDelta, size: -1, ref: outside, data: makeDelta(8, 8, "x")}, // a thin pack
				blob(strings.Repeat("large ", 300_000)),                                   // above the limit of what is read
			)
			in, err := s.Receive(t.Context(), bytes.NewReader(pack), Receipt{MaxBytes: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := s.Read(inside.id(f)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("an object in quarantine is in the store: %v", err)
			}
			if err := in.Keep(); err != nil {
				t.Fatal(err)
			}
			again, err := Open(s.dir, f, Limits{Object: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			defer again.Close()
			for _, content := range []string{"base ", "base a", "base ab", "base abc", "outside x", "outside "} {
				for _, s := range []*Store{s, again} {
					kind, got, err := s.Read(idOf(t, f, Blob, content))
					if err != nil || kind != Blob || string(got) != content {
						t.Errorf("%q: %s %q, %v", content, kind, got, err)
					}
				}
			}
			if _, _, err := s.Read(idOf(t, f, Blob, strings.Repeat("large ", 300_000))); !errors.Is(err, ErrTooLarge) {
				t.Errorf("a large object: %v", err)
			}
		})
	}
}

// What a hostile server can send. None of it may become part of the store, or take more memory than it has bytes.
func TestHostilePacksAreRefused(t *testing.T) {
	missingTree := strings.Repeat("1", 40)
	lost, _ := nameOf(SHA1, Blob, []byte("lost"))
	good := makePack(SHA1, 1, blob("x"))
	evil, _ := nameOf(SHA1, Blob, []byte("evil"))
	cases := map[string]struct {
		pack []byte
		want error
	}{
		"nothing":                          {nil, ErrCorrupt},
		"not a pack":                       {append(bytes.Repeat([]byte("x"), 40), make([]byte, 20)...), ErrCorrupt},
		"a flipped bit":                    {append(slices.Clone(good[:14]), append([]byte{good[14] ^ 1}, good[15:]...)...), ErrCorrupt},
		"cut short":                        {good[:len(good)-1], ErrCorrupt},
		"something behind the last object": {makePack(SHA1, 1, blob("x"), blob("y")), ErrCorrupt},
		"fewer objects than announced":     {makePack(SHA1, 2, blob("x")), ErrCorrupt},
		"four billion objects announced":   {makePack(SHA1, 1<<32-1, blob("x")), ErrTooLarge},
		"a terabyte announced":             {makePack(SHA1, 1, entry{kind: Tree, size: 1 << 40, data: []byte("x")}), ErrTooLarge},
		"a blob shorter than announced":    {makePack(SHA1, 1, entry{kind: Blob, size: 1 << 40, data: []byte("x")}), ErrCorrupt},
		"an object longer than announced":  {makePack(SHA1, 1, entry{kind: Blob, size: 1, data: []byte("xyz")}), ErrCorrupt},
		"garbage for zlib":                 {makePack(SHA1, 1, entry{kind: Blob, size: 1, raw: []byte("garbage")}), ErrCorrupt},
		"an unknown kind":                  {makePack(SHA1, 1, entry{kind: 5, size: -1, data: []byte("x")}), ErrCorrupt},
		"a delta before the pack":          {makePack(SHA1, 1, entry{kind: offsetDelta, size: -1, back: 99, data: makeDelta(1, 1, "")}), ErrCorrupt},
		"a delta into the middle of another object": {makePack(SHA1, 2, blob("0123456789"),
			entry{kind: offsetDelta, size: -1, back: 2, data: makeDelta(1, 1, "")}), ErrIncomplete},
		"a delta on an object that is nowhere": {makePack(SHA1, 1, entry{kind: refDelta, size: -1, ref: lost, data: makeDelta(4, 4, "")}), ErrIncomplete},
		"a delta on itself":                    {makePack(SHA1, 1, entry{kind: refDelta, size: -1, ref: evil, data: makeDelta(4, 4, "")}), ErrIncomplete},
		"a delta that copies past its base": {makePack(SHA1, 2, blob("x"),
			entry{kind: offsetDelta, size: -1, back: 14, data: makeDelta(1, 200, "")}), ErrCorrupt},
		"a delta that makes a terabyte": {makePack(SHA1, 2, blob("x"), entry{kind: offsetDelta, size: -1, back: 14,
			data: binary.AppendUvarint([]byte{1}, 1<<40)}), ErrTooLarge},
		"a delta with a reserved instruction": {makePack(SHA1, 2, blob("x"), entry{kind: offsetDelta, size: -1, back: 14, data: []byte{1, 1, 0}}), ErrCorrupt},
		"a commit whose tree it keeps back":   {makePack(SHA1, 1, entry{kind: Commit, size: -1, data: []byte("tree " + missingTree + "\n\nx")}), ErrIncomplete},
		"a commit without a tree":             {makePack(SHA1, 1, entry{kind: Commit, size: -1, data: []byte("parent " + missingTree + "\n\nx")}), ErrCorrupt},
		"a commit with an id that is none":    {makePack(SHA1, 1, entry{kind: Commit, size: -1, data: []byte("tree ../../etc/passwd\n\nx")}), ErrCorrupt},
		"a tree that ends inside an entry":    {makePack(SHA1, 1, entry{kind: Tree, size: -1, data: []byte("100644 x\x00123")}), ErrCorrupt},
		"more than was agreed to":             {makePack(SHA1, 1, entry{kind: Blob, size: -1, data: nil, raw: make([]byte, 1<<17)}), ErrTooLarge},
	}
	if back := len(entryHeader(Blob, 1)) + len(deflate([]byte("x"))); back != 14 {
		t.Fatalf("the deltas above must reach back %d", back)
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, SHA1)
			if _, err := s.Receive(t.Context(), bytes.NewReader(c.pack), Receipt{MaxBytes: 1 << 16}); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if left, _ := filepath.Glob(filepath.Join(s.dir, "incoming-*")); len(left) > 0 || s.Packs() > 0 {
				t.Errorf("it leaves %v", left)
			}
		})
	}
}

// Whoever can write to the disk can make objects unreadable, and nothing else: an object is its name or an error.
func TestTamperedStoresGiveErrorsNotContent(t *testing.T) {
	content := []string{"one one one one", "two two two two", strings.Repeat("three ", 100)}
	pack := makePack(SHA1, 3, blob(content[0]), blob(content[1]), blob(content[2]))
	build := func(t *testing.T) (dir string, files []string) {
		s := newStore(t, SHA1)
		in, err := s.Receive(t.Context(), bytes.NewReader(pack), Receipt{MaxBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		if err := in.Keep(); err != nil {
			t.Fatal(err)
		}
		files, _ = filepath.Glob(filepath.Join(s.dir, "pack", "*"))
		return s.dir, files
	}
	dir, files := build(t)
	for _, file := range files {
		whole, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i := range whole {
			changed := slices.Clone(whole)
			changed[i] ^= 0x41
			if err := os.WriteFile(file, changed, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := Open(dir, SHA1, Limits{})
			if err != nil {
				continue
			}
			for _, c := range content {
				if _, got, err := s.Read(idOf(t, SHA1, Blob, c)); err == nil && string(got) != c {
					t.Fatalf("byte %d of %s: %q reads as %q", i, filepath.Base(file), c, got)
				}
			}
			s.Close()
		}
		if err := os.WriteFile(file, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// A file that SHA-1 cannot tell from another is refused rather than named. (The two halves of the SHAttered collision differ in this block;
// the prefix is that of the published PDF files.)
func TestCollisionAttacksAreNoticed(t *testing.T) {
	shattered, err := os.ReadFile(filepath.Join("testdata", "shattered-prefix"))
	if err != nil {
		t.Fatal(err)
	}
	h := newHash(SHA1)
	h.Write(shattered)
	if _, err := sum(h); !errors.Is(err, ErrCollision) {
		t.Errorf("the SHAttered collision is taken for an ordinary object: %v", err)
	}
}

// A store of a thousand small packs and one of a single pack hold the same, while somebody reads.
func TestMergingUnderReaders(t *testing.T) {
	s := newStore(t, SHA1)
	var contents []string
	for i := range 12 {
		var entries []entry
		for j := range 5 {
			contents = append(contents, fmt.Sprintf("object %d %d %s", i, j, strings.Repeat("x", 100*j)))
			entries = append(entries, blob(contents[len(contents)-1]))
		}
		in, err := s.Receive(t.Context(), bytes.NewReader(makePack(SHA1, 5, entries...)), Receipt{MaxBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		if err := in.Keep(); err != nil {
			t.Fatal(err)
		}
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				for _, c := range contents {
					if _, got, err := s.Read(idOf(t, SHA1, Blob, c)); err != nil || string(got) != c {
						t.Errorf("%q: %q %v", c, got, err)
						return
					}
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	if err := s.Merge(t.Context()); err != nil {
		t.Error(err)
	}
	close(stop)
	readers.Wait()
	if left, _ := filepath.Glob(filepath.Join(s.dir, "pack", "*.pack")); s.Packs() != 1 || len(left) != 1 {
		t.Errorf("%d packs, %d files", s.Packs(), len(left))
	}
}

func TestTreesThatTwoReadersCouldReadDifferently(t *testing.T) {
	id := strings.Repeat("\x11", 20)
	cases := map[string]struct {
		tree string
		ok   bool
	}{
		"a good tree":                     {"100644 a\x00" + id + "40000 b\x00" + id + "120000 c\x00" + id, true},
		"a folder sorts with its slash":   {"100644 a.b\x00" + id + "40000 a\x00" + id + "100644 a0\x00" + id, true},
		"the same name twice":             {"100644 a\x00" + id + "100644 a\x00" + id, false},
		"a file and a folder of one name": {"100644 a\x00" + id + "100644 a.b\x00" + id + "40000 a\x00" + id, false},
		"out of order":                    {"100644 b\x00" + id + "100644 a\x00" + id, false},
		"a slash in a name":               {"100644 a/b\x00" + id, false},
		"the parent folder":               {"40000 ..\x00" + id, false},
		"a Git folder":                    {"40000 .GiT\x00" + id, false},
		"no name":                         {"100644 \x00" + id, false},
		"a mode that is none":             {"100999 a\x00" + id, false},
		"a device":                        {"60000 a\x00" + id, false},
		"no mode":                         {" a\x00" + id, false},
	}
	for name, c := range cases {
		if _, err := ParseTree([]byte(c.tree), SHA1); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever the bytes are: no panic, no runaway, and what is kept can be read back.
func FuzzReceive(f *testing.F) {
	base := int64(len(entryHeader(Blob, 5)) + len(deflate([]byte("base "))))
	inside, _ := nameOf(SHA1, Blob, []byte("base "))
	f.Add(makePack(SHA1, 1, blob("x"))[12:], uint32(1))
	f.Add(makePack(SHA1, 3, blob("base "), entry{kind: offsetDelta, size: -1, back: base, data: makeDelta(5, 3, "abc")},
		entry{kind: refDelta, size: -1, ref: inside, data: makeDelta(5, 1, "z")})[12:], uint32(3))
	f.Add(makePack(SHA1, 1, entry{kind: Tree, size: -1, data: []byte("100644 a\x0011111111111111111111")})[12:], uint32(1))
	f.Fuzz(func(t *testing.T, body []byte, count uint32) {
		if len(body) < 20 {
			return
		}
		h := newHash(SHA1)
		pack := append(packHead(int(count)), body[:len(body)-20]...)
		h.Write(pack)
		s := newStore(t, SHA1)
		in, err := s.Receive(t.Context(), bytes.NewReader(h.Sum(pack)), Receipt{MaxBytes: 1 << 20, Partial: true})
		if err != nil {
			return
		}
		if err := in.Keep(); err != nil {
			t.Fatal(err)
		}
		x := in.pack.index
		for i := range x.n {
			var n name
			copy(n[:], x.name(i))
			if _, _, err := s.Read(n.id(SHA1)); err != nil && !errors.Is(err, ErrTooLarge) {
				t.Fatalf("kept and not readable: %v", err)
			}
		}
	})
}

func FuzzIndex(f *testing.F) {
	var b bytes.Buffer
	n, _ := nameOf(SHA1, Blob, []byte("x"))
	if err := writeIndex(&b, SHA1, []indexEntry{{name: n, offset: 12}, {name: n, offset: 1 << 40}}, make([]byte, 20)); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, p []byte) {
		x, err := parseIndex(p, SHA1)
		if err != nil {
			return
		}
		x.find(&n)
		for i := range x.n {
			x.at(i)
		}
	})
}

func FuzzDelta(f *testing.F) {
	f.Add([]byte("base "), makeDelta(5, 3, "abc"))
	f.Add([]byte(""), []byte{0, 0})
	f.Fuzz(func(t *testing.T, base, delta []byte) {
		if out, err := apply(base, delta, 1<<16); err == nil && len(out) > 1<<16 {
			t.Fatal("above the limit")
		}
	})
}

func FuzzTree(f *testing.F) {
	f.Add([]byte("100644 a\x0011111111111111111111" + "40000 b\x0011111111111111111111"))
	f.Fuzz(func(t *testing.T, p []byte) {
		entries, err := ParseTree(p, SHA1)
		if err != nil {
			return
		}
		seen := make(map[string]bool)
		for _, e := range entries {
			if seen[e.Name] || e.Name == "" || strings.Contains(e.Name, "/") {
				t.Fatalf("entry %q", e.Name)
			}
			seen[e.Name] = true
		}
	})
}
