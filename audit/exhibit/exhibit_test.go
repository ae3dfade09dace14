package exhibit

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func open(t *testing.T, log string) *Store {
	t.Helper()
	s, err := Open(log)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s *Store, content string, at time.Time) string {
	t.Helper()
	digest, err := s.Put([]byte(content), at)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

func TestAnExhibitIsKeptUnderItsDigest(t *testing.T) {
	log := t.TempDir()
	s := open(t, log)
	digest := put(t, s, "alice ssh-ed25519 …\n", time.Now())
	if again := put(t, s, "alice ssh-ed25519 …\n", time.Now()); again != digest {
		t.Errorf("%s, then %s", digest, again)
	}
	content, err := Read(log, digest)
	if err != nil || string(content) != "alice ssh-ed25519 …\n" {
		t.Errorf("%q, %v", content, err)
	}
	names, err := Names(log)
	if err != nil || len(names) != 1 || "sha256:"+names[0] != digest {
		t.Errorf("%v, %v", names, err)
	}
	if _, err := Read(log, Digest([]byte("bob"))); !errors.Is(err, ErrNotThere) {
		t.Errorf("what nobody put: %v", err)
	}
	for _, evil := range []string{"", "sha256:", "sha256:../../" + strings.Repeat("a", 58), "sha256:" + strings.Repeat("A", 64)} {
		if _, err := Read(log, evil); !errors.Is(err, ErrNotThere) {
			t.Errorf("%q: %v", evil, err)
		}
	}
	if _, err := s.Put(make([]byte, MaxSize+1), time.Now()); err == nil {
		t.Error("an exhibit without bound was taken")
	}
}

// Somebody with access to the disk makes a signer list look as if they had been on it.
func TestAnAlteredExhibitIsNotBelieved(t *testing.T) {
	log := t.TempDir()
	s := open(t, log)
	digest := put(t, s, "alice", time.Now())
	name, _ := Name(digest)
	if err := os.WriteFile(filepath.Join(log, Folder, name), []byte("alice, mallory"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(log, digest); !errors.Is(err, ErrAltered) {
		t.Errorf("read: %v", err)
	}
	put(t, s, "alice", time.Now()) // the gate has it again
	if content, err := Read(log, digest); err != nil || string(content) != "alice" {
		t.Errorf("%q, %v", content, err)
	}
}

func TestExhibitsGoWithTheRecordsThatNameThem(t *testing.T) {
	log, now := t.TempDir(), time.Now()
	year := 365 * 24 * time.Hour
	old := open(t, log)
	gone, still := put(t, old, "superseded two years ago", now.Add(-2*year)), put(t, old, "judges since two years", now.Add(-2*year))
	recent := put(t, old, "superseded last month", now.Add(-year/12))

	s := open(t, log) // a restart: what judges is put again
	put(t, s, "judges since two years", now.Add(-2*year))
	if n, err := s.Prune(now, now.Add(-year)); err != nil || n != 1 {
		t.Errorf("%d removed, %v", n, err)
	}
	for digest, want := range map[string]error{gone: ErrNotThere, still: nil, recent: nil} {
		if _, err := Read(log, digest); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", digest, err, want)
		}
	}
	later := open(t, log) // it judged until just now, so it stays for another while
	if n, err := later.Prune(now, now.Add(-year)); err != nil || n != 0 {
		t.Errorf("%d removed, %v", n, err)
	}
}

func FuzzReadListing(f *testing.F) {
	f.Add([]byte(`[{"Path":"a.rego","Sum":"` + strings.Repeat("0", 64) + `"}][]`))
	f.Add([]byte(`[{"Path":"a.rego","Sum":"../x"}]`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		files, err := ReadListing(content)
		if err != nil {
			return
		}
		for _, file := range files {
			if _, ok := Name(file.Digest()); !ok {
				t.Errorf("%q has no name", file.Digest())
			}
		}
	})
}
