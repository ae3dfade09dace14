package ship

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/commitgate/commitgate/audit"
)

// server starts a real PostgreSQL on a socket in a folder of its own.
func server(t *testing.T) (dsn string) {
	t.Helper()
	for _, program := range []string{"initdb", "postgres"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	dir, err := os.MkdirTemp("", "pg") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	attr := &syscall.SysProcAttr{}
	if os.Getuid() == 0 { // it does not run as root
		nobody, err := user.Lookup("nobody")
		if err != nil {
			t.Skip(err)
		}
		uid, _ := strconv.Atoi(nobody.Uid)
		gid, _ := strconv.Atoi(nobody.Gid)
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	data := filepath.Join(dir, "data")
	init := exec.Command("initdb", "--pgdata", data, "--username", "gate", "--auth", "trust", "--no-sync", "--no-instructions")
	init.Dir, init.SysProcAttr = dir, attr
	if out, err := init.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	db := exec.Command("postgres", "-D", data, "-k", dir, "-c", "listen_addresses=", "-c", "fsync=off")
	db.Dir, db.SysProcAttr = dir, attr
	if err := db.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		db.Process.Signal(syscall.SIGINT) // fast shutdown
		db.Wait()
	})
	dsn = "postgres:///postgres?user=gate&host=" + dir
	for range 2400 { // two minutes
		conn, err := pgx.Connect(context.Background(), dsn)
		if err == nil {
			conn.Close(context.Background())
			return dsn
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("PostgreSQL does not answer")
	return ""
}

func TestADatabaseHoldsTheLog(t *testing.T) {
	dsn := server(t)
	testShip(t, func() Destination {
		p, err := NewPostgres(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		return p
	})
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var line, name string
	var rows, checkpoints int
	err = conn.QueryRow(t.Context(), "SELECT count(*) OVER (), line, username FROM commitgate_records WHERE namespace = 'shop' AND name = 'app-3' ORDER BY seq").Scan(&rows, &line, &name)
	if err != nil || rows != 3 || name != "fl\ufffdux" {
		t.Errorf("%d rows of app-3 by %q, %v", rows, name, err)
	}
	if f, err := audit.ParseFrame([]byte(line)); err != nil || !f.Sound() {
		t.Errorf("the line is not as it was written (%v)", err)
	}
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM commitgate_checkpoints").Scan(&checkpoints); err != nil || checkpoints != 2 {
		t.Errorf("%d checkpoints, %v", checkpoints, err)
	}

	// A shipper that may only add and read cannot change what it shipped.
	if _, err := conn.Exec(t.Context(), "CREATE ROLE shipper LOGIN; GRANT SELECT, INSERT ON commitgate_records, commitgate_checkpoints, commitgate_exhibits TO shipper"); err != nil {
		t.Fatal(err)
	}
	p, err := NewPostgres(t.Context(), dsn+"&user=shipper")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	w := newWriter(t)
	w.write(t, 3, true)
	if _, err := p.conn.Exec(t.Context(), "DELETE FROM commitgate_records"); err == nil {
		t.Error("it removed the log")
	}
	if err := errors.Join(p.Put(t.Context(), Batch{Origin: "gate.test/third", Shard: "s"}), p.PutExhibit(t.Context(), "gate.test/third", "0", []byte("alice"))); err != nil {
		t.Errorf("it may not add: %v", err)
	}
}
