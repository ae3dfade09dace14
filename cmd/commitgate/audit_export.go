package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/audit/evidence"
	"github.com/commitgate/commitgate/audit/export"
	"github.com/commitgate/commitgate/audit/seal"
)

func newAuditExport() *cobra.Command {
	var f recordFilter
	var output, to, cursor, title string
	var keys, attach, signKeys []string
	cmd := &cobra.Command{
		Use:   "export DIR...",
		Short: "Export records of audit logs, with their count, range and roots",
		Long: `Export the records of one or more audit logs (one per replica), in the order of time:

  jsonl     the records as they are, a line each
  csv       the population as a table, a row per record
  ocsf      decisions and findings as OCSF events (API Activity, Detection Finding), a line each
  evidence  a ZIP archive that ` + "`commitgate audit verify`" + ` checks offline: records, proofs, checkpoints
  html      a report to read and to print: who changed what, four eyes, emergencies, refusals, gaps

The first three end with a trailer: how many records it holds, of how many that were read, the first and the last
sequence number, and the size and root of each shard's checkpoint.

With --cursor FILE an export goes on where the last one with this file ended.`,
		Example: `  commitgate audit export /logs/gate-0 /logs/gate-1 --from 2026-07-01 --to 2026-09-30 -o csv --out q3.csv`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			filter, err := f.parse()
			if err != nil {
				return err
			}
			if cursor != "" && !filter.To.IsZero() {
				return usage("--cursor with --to: an export that goes on has no end")
			}
			if cursor != "" && (output == "evidence" || output == "html") {
				return usage("--cursor is for jsonl, csv and ocsf")
			}
			switch output {
			case "evidence":
				return exportEvidence(cmd, args, filter, to, keys, attach, signKeys)
			case "html":
				return exportReport(cmd, args, filter, to, title, keys)
			}
			logs, err := openLogs(args, filter)
			if err != nil {
				return err
			}
			if err := readCursor(cursor, logs); err != nil {
				return usage("--cursor: %w", err)
			}
			var trailer export.Trailer
			err = writeOut(cmd.OutOrStdout(), to, func(w io.Writer) error {
				trailer, err = exportAs(cmd.Context(), w, output, logs, filter)
				return err
			})
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%d of %d records\n", trailer.Count, trailer.Read)
			if err := writeCursor(cursor, trailer); err != nil {
				return unknown(err)
			}
			return nil
		},
	}
	f.flags(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "jsonl", "jsonl, csv, ocsf, evidence or html")
	cmd.Flags().StringVar(&to, "out", "", "file to write; it must not exist")
	cmd.Flags().StringSliceVar(&keys, "key", nil, "file with verifier keys: html verifies with them first, evidence puts them beside the records")
	cmd.Flags().StringVar(&title, "title", "", "html: what stands above the report")
	cmd.Flags().StringArrayVar(&signKeys, "sign", nil, "evidence: key that seals one of the logs (file or KMS), to sign the archive's manifest with")
	cmd.Flags().StringArrayVar(&attach, "attach", nil, "evidence: file to add, such as a git bundle of the repository")
	cmd.Flags().StringVar(&cursor, "cursor", "", "file that remembers where the export ended")
	return cmd
}

// exportAs writes one export.
func exportAs(ctx context.Context, w io.Writer, output string, logs []export.Log, filter audit.Filter) (export.Trailer, error) {
	var format export.Format
	switch output {
	case "jsonl":
		format = export.JSONLines{}
	case "csv":
		format = export.CSV{}
	case "ocsf":
		format = export.OCSF{}
	default:
		return export.Trailer{}, usage("-o %s: want jsonl, csv, ocsf, evidence or html", output)
	}
	t, err := export.Write(ctx, w, logs, filter, format, nil)
	if err != nil {
		return t, unknown(err)
	}
	return t, nil
}

// exportEvidence writes an archive.
func exportEvidence(cmd *cobra.Command, dirs []string, filter audit.Filter, to string, keys, attach, signKeys []string) error {
	if to == "" {
		return usage("-o evidence needs --out FILE.zip")
	}
	o := evidence.Options{Filter: filter, Attach: map[string]string{}}
	for _, file := range keys {
		lines, err := seal.ReadVerifiers(file)
		if err != nil {
			return usage("--key: %w", err)
		}
		o.Keys = append(o.Keys, lines...)
	}
	var err error
	if o.Signers, err = archiveSigners(cmd.Context(), dirs, signKeys); err != nil {
		return usage("--sign: %w", err)
	}
	for _, file := range attach {
		o.Attach[filepath.Base(file)] = file
	}
	var m evidence.Manifest
	err = writeOut(nil, to, func(w io.Writer) (err error) {
		m, err = evidence.Write(cmd.Context(), w, dirs, o)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, export.ErrNoLog), errors.Is(err, export.ErrTwice), errors.Is(err, evidence.ErrNotSealed):
			return usage("%w", err)
		case err != nil:
			return unknown(err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%d records\n", m.Count)
	for _, digest := range m.Missing {
		fmt.Fprintf(cmd.ErrOrStderr(), "missing: %s, which a record names; the archive will not verify without it\n", plain(digest))
	}
	for _, l := range m.Logs {
		for _, s := range l.Shards {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s/%s: records %d to %d, root %s\n", plain(l.Origin), plain(s.Name), s.First, s.First+uint64(s.Size)-1, s.Root)
		}
	}
	return nil
}

// archiveSigners loads the keys that sign an archive: each is that of one of its logs, by whose name it will be verified.
func archiveSigners(ctx context.Context, dirs, refs []string) (signers []note.Signer, err error) {
	if len(refs) == 0 {
		return nil, nil
	}
	logs, err := export.OpenLogs(dirs, audit.Filter{})
	if err != nil {
		return nil, err
	}
	for _, ref := range refs {
		var problems error
		found := false
		for _, l := range logs {
			s, _, err := seal.LoadSigner(ctx, ref, l.Origin)
			if err == nil {
				signers, found = append(signers, s), true
				break
			}
			problems = errors.Join(problems, err)
		}
		if !found {
			return nil, problems
		}
	}
	return signers, nil
}

// writeOut lets write fill a new file, which is there only when it is whole, or standard output.
func writeOut(stdout io.Writer, path string, write func(io.Writer) error) error {
	if path == "" {
		return write(stdout)
	}
	if _, err := os.Lstat(path); err == nil {
		return usage("--out %s: it is there already", path)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return usage("--out: %w", err)
	}
	defer os.Remove(tmp.Name())
	if err := write(tmp); err != nil {
		return errors.Join(err, tmp.Close())
	}
	if err := errors.Join(tmp.Sync(), tmp.Close(), os.Link(tmp.Name(), path)); err != nil { // a link, unlike a rename, replaces nothing
		return unknown(err)
	}
	return nil
}

// readCursor lets the logs begin where the last export ended.
func readCursor(path string, logs []export.Log) error {
	if path == "" {
		return nil
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the first export
	}
	if err != nil {
		return err
	}
	var after map[string]uint64
	if err := json.Unmarshal(b, &after); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for i := range logs {
		logs[i].After = after[logs[i].Origin]
	}
	return nil
}

// writeCursor remembers where an export ended. Logs that it did not read keep their place.
func writeCursor(path string, t export.Trailer) error {
	if path == "" {
		return nil
	}
	after := map[string]uint64{}
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &after)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, l := range t.Logs {
		after[l.Log] = max(after[l.Log], l.Last)
	}
	if b, err = json.Marshal(after); err != nil {
		return err
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
