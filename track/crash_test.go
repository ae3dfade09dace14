package track_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/track"
)

// doomed is what a gate in another process is told, by a file that this variable names.
const doomed = "COMMITGATE_TEST_DOOMED"

type doomedConfig struct {
	Gate         v1alpha1.GateSpec
	Repositories []v1alpha1.TrustedRepository
	Dir          string
}

// killer is an observer that ends its process when a publication is to be recorded, or just after it was.
type killer struct{ log string }

func (k killer) Published(_ context.Context, p track.Publication) error {
	f, err := os.OpenFile(k.log, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(string(p.Commit.ID) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

func (k killer) Restored(context.Context, []track.Publication) error { return nil }

func (k killer) Refused(context.Context, track.Refusal) {}

// TestDoomedGate is the other process of TestKilledWhilePublishing, and nothing by itself.
func TestDoomedGate(t *testing.T) {
	file := os.Getenv(doomed)
	if file == "" {
		t.Skip("runs only inside TestKilledWhilePublishing")
	}
	var c doomedConfig
	if err := json.Unmarshal(ok[[]byte](t)(os.ReadFile(file)), &c); err != nil {
		t.Fatal(err)
	}
	tr := ok[*track.Tracker](t)(track.New(track.Config{
		Gate: c.Gate, Repositories: c.Repositories, Dir: c.Dir, Observer: killer{file + ".log"}, Engine: manifest.InProcess{},
	}))
	t.Fatal("it outlived the publication: ", tr.Once(t.Context()))
}

// A gate that is killed after a publication was recorded and before it was remembered publishes it, and records it, once more: nothing that became the
// truth is without a record, and nothing that was recorded is lost.
func TestKilledWhilePublishing(t *testing.T) {
	w := newWorld(t)
	tr := w.start(nil)
	w.once(tr)
	w.stop(tr)
	id := w.publish(w.alice, "cart: 2", map[string]string{"apps/cart.yaml": configMap("cart", "2")})
	file := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(file, ok[[]byte](t)(json.Marshal(doomedConfig{w.gate, w.repositories, w.dir})), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDoomedGate$")
		cmd.Env = append(os.Environ(), doomed+"="+file)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("the gate was not killed: %v\n%s", err, out)
		}
	}
	if got, want := string(ok[[]byte](t)(os.ReadFile(file+".log"))), string(id)+"\n"+string(id)+"\n"; got != want {
		t.Errorf("recorded were %q, want %q", got, want)
	}
	o := &witness{}
	tr = w.start(o)
	w.once(tr)
	w.at(tr, id)
	o.saw(t, "shop "+id.Short())
}
