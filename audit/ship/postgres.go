package ship

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/audit/seal"
)

// Schema is what the database must hold; Open makes it where its role may.
//
//go:embed schema.sql
var Schema string

// connectTimeout bounds how long a database is waited for.
const connectTimeout = 10 * time.Second

// Postgres is three tables of a PostgreSQL database (schema.sql). Its role needs INSERT and SELECT and nothing else, so that who ships cannot
// change what was shipped.
type Postgres struct{ conn *pgx.Conn }

// NewPostgres connects to postgres://… (libpq's form; the password may come from PGPASSWORD or a password file).
func NewPostgres(ctx context.Context, dsn string) (*Postgres, error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err) // pgx leaves the password out
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	var there bool
	err = conn.QueryRow(ctx, "SELECT to_regclass('commitgate_records') IS NOT NULL AND to_regclass('commitgate_checkpoints') IS NOT NULL "+
		"AND to_regclass('commitgate_exhibits') IS NOT NULL").Scan(&there)
	if err == nil && !there {
		_, err = conn.Exec(ctx, Schema)
	}
	if err != nil {
		conn.Close(ctx)
		return nil, fmt.Errorf("postgres: %w", err)
	}
	return &Postgres{conn}, nil
}

// Last implements Destination.
func (p *Postgres) Last(ctx context.Context, origin string) (uint64, error) {
	var seq int64
	err := p.conn.QueryRow(ctx, "SELECT coalesce(max(seq), 0) FROM commitgate_records WHERE log = $1", origin).Scan(&seq)
	return uint64(seq), err
}

// columns of commitgate_records, in the order of row.
var columns = []string{"log", "shard", "seq", "id", "time", "type", "outcome", "reason", "operation", "kind", "namespace", "name", "username",
	"repository", "revision", "commit", "path", "line"}

// Put implements Destination: all records of the batch or none.
func (p *Postgres) Put(ctx context.Context, b Batch) error {
	var rows [][]any
	for line := range bytes.Lines(b.Lines) {
		line = bytes.TrimSuffix(line, []byte{'\n'})
		f, err := audit.ParseFrame(line)
		if err != nil {
			return err
		}
		if f.Header {
			continue
		}
		row, err := rowOf(b, line)
		if err != nil {
			return err
		}
		rows = append(rows, row)
	}
	return pgx.BeginFunc(ctx, p.conn, func(tx pgx.Tx) error {
		_, err := tx.CopyFrom(ctx, pgx.Identifier{"commitgate_records"}, columns, pgx.CopyFromRows(rows))
		return err
	})
}

// rowOf is a record as a row: what one asks for by itself, and the line as it was written.
func rowOf(b Batch, line []byte) ([]any, error) {
	var r audit.Record
	if err := json.Unmarshal(line, &r); err != nil {
		return nil, err
	}
	var q audit.Request
	var a audit.Actor
	var d audit.Decision
	var o audit.Origin
	if r.Request != nil {
		q = *r.Request
	}
	if r.Actor != nil {
		a = *r.Actor
	}
	if r.Decision != nil {
		d = *r.Decision
	}
	if r.Origin != nil {
		o = *r.Origin
	}
	row := []any{b.Origin, b.Shard, int64(r.Seq), r.ID, r.Time, string(r.Type), d.Outcome, d.Reason, q.Operation, q.Kind, q.Namespace, q.Name, a.Username,
		o.Repository, string(o.Revision), string(o.Commit), string(o.Path), string(line)}
	for i, v := range row {
		if s, ok := v.(string); ok { // text holds no NUL; JSON escapes it, so that the line has none
			row[i] = strings.ReplaceAll(s, "\x00", "\ufffd")
		}
	}
	return row, nil
}

// Exhibits implements Destination.
func (p *Postgres) Exhibits(ctx context.Context, origin string) (map[string]bool, error) {
	rows, err := p.conn.Query(ctx, "SELECT name FROM commitgate_exhibits WHERE log = $1", origin)
	if err != nil {
		return nil, err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	there := make(map[string]bool, len(names))
	for _, name := range names {
		there[name] = true
	}
	return there, err
}

// PutExhibit implements Destination.
func (p *Postgres) PutExhibit(ctx context.Context, origin, name string, content []byte) error {
	_, err := p.conn.Exec(ctx, "INSERT INTO commitgate_exhibits (log, name, content) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", origin, name, content)
	return err
}

// KeepExhibits implements Destination: rows stay.
func (p *Postgres) KeepExhibits(context.Context, string, []string) error { return nil }

// PutCheckpoint implements Destination.
func (p *Postgres) PutCheckpoint(ctx context.Context, origin, shard string, cp *seal.Checkpoint) error {
	_, err := p.conn.Exec(ctx, "INSERT INTO commitgate_checkpoints (log, shard, size, root, note) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
		origin, shard, cp.Size, cp.Root.String(), string(cp.Note))
	return err
}

// Close implements Destination.
func (p *Postgres) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	return p.conn.Close(ctx)
}
