package track

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
)

// state is what survives a restart: how far each repository was verified and published. It is the high-water mark below which
// the gate never goes again, whatever the remote says.
type state struct {
	Schema       int                  `json:"schema"` // 1
	Repositories map[string]repoState `json:"repositories"`
}

// repoState is the mark of one repository. A mark is good for one anchor and branch only: whoever changes these in the configuration
// begins anew.
type repoState struct {
	Branch    string    `json:"branch"`
	Anchor    git.ID    `json:"anchor"`
	Verified  git.ID    `json:"verified"`            // the last commit that the rules accepted
	Published git.ID    `json:"published,omitempty"` // the last of these that rendered and became the truth
	At        time.Time `json:"at"`                  // when the mark was last moved; for people
}

// of tells whether the mark was made with this anchor and branch.
func (s repoState) of(spec v1alpha1.TrustedRepositorySpec) bool {
	return s.Branch == spec.Branch && s.Anchor == git.ID(spec.Anchor.Commit)
}

// errTorn is wrapped by the error of reading a state file that is not what was written.
var errTorn = errors.New("the state file is damaged")

const stateFile = "state.json"

// readState returns the state in dir. There being none is not an error; a damaged one is, because going on without it
// could mean going back.
func readState(dir string) (state, error) {
	s := state{Schema: 1, Repositories: make(map[string]repoState)}
	path := filepath.Join(dir, stateFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	sum, body, ok := bytes.Cut(b, []byte("\n"))
	want := sha256.Sum256(body)
	if !ok || string(sum) != hex.EncodeToString(want[:]) {
		return s, fmt.Errorf("%w: %s: its checksum does not match. Restore it, or remove it to begin again from the anchors", errTorn, path)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return s, fmt.Errorf("%w: %s: %w", errTorn, path, err)
	}
	if s.Schema != 1 {
		return s, fmt.Errorf("%s: schema %d is of another version of the gate", path, s.Schema)
	}
	if s.Repositories == nil {
		s.Repositories = make(map[string]repoState)
	}
	return s, nil
}

// writeState makes the state durable: the checksum of the body, and the body. After it returns a crash finds this state; inside it, this or
// the one before.
func writeState(dir string, s state) error {
	body, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	f, err := os.CreateTemp(dir, ".state-*")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s\n%s", hex.EncodeToString(sum[:]), body)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, stateFile))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
