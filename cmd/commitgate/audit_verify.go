package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/audit/evidence"
	"github.com/commitgate/commitgate/audit/exhibit"
	"github.com/commitgate/commitgate/audit/seal"
)

func newAuditVerify() *cobra.Command {
	var output string
	var keys, anchors []string
	var signed bool
	cmd := &cobra.Command{
		Use:   "verify DIR|FILE",
		Short: "Check that an audit log is whole and unchanged",
		Long: `Check each record of an audit log: that its content is what its sum says, that it follows the
one before it, that none is missing; that each shard is what its signed checkpoints say, so that
nothing was changed or cut off since they were signed; and that the signer lists, policies and
configurations that records name by digest lie beside them, byte for byte.

DIR is the folder of a log, or of one of its shards; FILE is one segment, or an evidence archive
(` + "`commitgate audit export -o evidence`" + `), which needs neither the log nor the cluster.

Exit status: 0 the log is sound, 1 it is not and the first bad record was named, 2 usage,
3 it could not be read.`,
		Example: "  commitgate audit verify /var/lib/commitgate/audit --key gate-0.vkey",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "table" && output != "json" {
				return usage("-o %s: want table or json", output)
			}
			options, err := verifyOptions(keys, anchors)
			if err != nil {
				return usage("%w", err)
			}
			if isArchive(args[0]) {
				return verifyEvidence(cmd, args[0], options, signed, output)
			}
			if signed {
				return usage("--signed is about evidence archives, and %s is none", args[0])
			}
			v, err := verifyLog(args[0], options)
			if errors.Is(err, fs.ErrNotExist) {
				return usage("%w", err)
			}
			if err != nil {
				return unknown(err)
			}
			if err := v.print(cmd.OutOrStdout(), output); err != nil {
				return unknown(err)
			}
			if len(v.Problems) > 0 {
				return exit{exitNo, nil}
			}
			return nil
		},
	}
	cmd.Flags().StringSliceVar(&keys, "key", nil, "file with verifier keys of the log and its witnesses, one per line")
	cmd.Flags().BoolVar(&signed, "signed", false, "an archive must be signed by one of the keys, too")
	cmd.Flags().StringSliceVar(&anchors, "checkpoint", nil, "file with a checkpoint that was kept elsewhere")
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

// verifyLog checks a log, or a part of one, and the exhibits beside it.
func verifyLog(path string, o seal.Options) (v verification, err error) {
	exhibits, err := evidence.OfLog(path)
	if err != nil {
		return v, err
	}
	o.Watch = exhibits.Watch
	if v.Report, v.Sealed, err = seal.Verify(path, o); err != nil {
		return v, err
	}
	found := exhibits.Check()
	v.Exhibits, v.Judged = found.Exhibits, found.Judged
	for _, p := range found.Problems {
		v.Add(p)
	}
	v.Notes = append(v.Notes, found.Notes...)
	return v, nil
}

// isArchive tells whether path is a ZIP file, by its first bytes.
func isArchive(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var magic [4]byte
	_, err = io.ReadFull(f, magic[:])
	return err == nil && string(magic[:]) == "PK\x03\x04"
}

// verifyEvidence checks an archive.
func verifyEvidence(cmd *cobra.Command, path string, o seal.Options, signed bool, output string) error {
	if signed && len(o.Verifiers) == 0 {
		return usage("--signed needs --key: signed by whom?")
	}
	r, err := evidence.Verify(path, o.Verifiers, o.Anchors...)
	if errors.Is(err, evidence.ErrNotEvidence) {
		return usage("%w", err)
	}
	if err != nil {
		return unknown(err)
	}
	if signed && len(r.SignedBy) == 0 && len(r.Problems) == 0 {
		r.Complete, r.Problems = false, []audit.Problem{{File: path, What: "the archive is not signed"}}
	}
	if output == "json" {
		err = writeJSON(cmd.OutOrStdout(), r)
	} else {
		err = printEvidence(cmd.OutOrStdout(), r)
	}
	if err != nil {
		return unknown(err)
	}
	if len(r.Problems) > 0 {
		return exit{exitNo, nil}
	}
	return nil
}

func printEvidence(w io.Writer, r evidence.Report) error {
	var b strings.Builder
	switch {
	case len(r.Problems) > 0:
		fmt.Fprintf(&b, "NOT SOUND: %s\n", plain(r.Problems[0].String()))
		for _, p := range r.Problems[1:] {
			fmt.Fprintf(&b, "           %s\n", plain(p.String()))
		}
	case r.Complete:
		fmt.Fprintf(&b, "sound and complete: %d records, none of the period is missing\n", r.Count)
	default:
		fmt.Fprintf(&b, "sound: %d records\n", r.Count)
	}
	asked, err := json.Marshal(r.Asked)
	if err != nil {
		return err
	}
	fmt.Fprintf(&b, "asked:    %s\nshown:    %d records, and the hashes of %d others\n", plain(string(asked)), r.Shown, r.Hidden)
	if !r.From.IsZero() {
		fmt.Fprintf(&b, "period:   %s to %s\n", r.From.Format(time.RFC3339), r.To.Format(time.RFC3339))
	}
	for _, s := range r.Shards {
		fmt.Fprintf(&b, "shard:    %s, records %d to %d, root %s", plain(s.Origin), s.First, s.First+uint64(s.Size)-1, s.Root)
		if len(s.SignedBy) > 0 {
			fmt.Fprintf(&b, ", signed by %s", plain(strings.Join(s.SignedBy, ", ")))
		}
		b.WriteByte('\n')
	}
	if len(r.SignedBy) > 0 {
		fmt.Fprintf(&b, "archive:  signed by %s\n", plain(strings.Join(r.SignedBy, ", ")))
	}
	printJudged(&b, r.Exhibits, r.Judged)
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "note:     %s\n", plain(n))
	}
	_, err = io.WriteString(w, b.String())
	return err
}

// printJudged tells how many exhibits there are, and by which of them commits were judged.
func printJudged(b *strings.Builder, exhibits int, judged []evidence.Judged) {
	if exhibits > 0 {
		fmt.Fprintf(b, "exhibits: %d signer lists, policies and other documents that the records name, each byte for byte\n", exhibits)
	}
	for i, j := range judged {
		if i == maxJudgedLines {
			fmt.Fprintf(b, "judged:   … and %d more: -o json lists all\n", len(judged)-i)
			break
		}
		lists := shortDigest(j.SignerList)
		for _, merged := range j.Merged {
			lists += " and " + shortDigest(merged)
		}
		fmt.Fprintf(b, "judged:   %s %s by signer list %s%s\n", plain(j.Repository), j.Commit.Short(), plain(lists), judgedWith(j))
	}
}

// maxJudgedLines is how many judgements fit on a screen.
const maxJudgedLines = 15

// judgedWith tells what became of a commit.
func judgedWith(j evidence.Judged) string {
	var more []string
	if j.Refused {
		more = append(more, "refused")
	}
	if j.Published {
		more = append(more, "published")
	}
	if j.Changes > 0 {
		more = append(more, fmt.Sprintf("%d decisions", j.Changes))
	}
	return ": " + strings.Join(more, ", ")
}

// shortDigest keeps enough of a digest to find the file.
func shortDigest(digest string) string {
	name, ok := exhibit.Name(digest)
	if !ok {
		return digest
	}
	return name[:12]
}

// verifyOptions reads keys and checkpoints from files.
func verifyOptions(keys, anchors []string) (o seal.Options, err error) {
	for _, file := range keys {
		vkeys, err := seal.ReadVerifiers(file)
		if err != nil {
			return o, err
		}
		vs, err := seal.ParseVerifiers(vkeys)
		if err != nil {
			return o, fmt.Errorf("%s: %w", file, err)
		}
		o.Verifiers = append(o.Verifiers, vs...)
	}
	for _, file := range anchors {
		b, err := os.ReadFile(file)
		if err != nil {
			return o, err
		}
		o.Anchors = append(o.Anchors, b)
	}
	return o, nil
}

// verification is what `audit verify` found.
type verification struct {
	audit.Report
	Sealed   []seal.Result     `json:"sealed"`
	Exhibits int               `json:"exhibits"` // that records name, and that are there
	Judged   []evidence.Judged `json:"judged,omitempty"`
}

func (v verification) print(w io.Writer, output string) error {
	if output == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(v)
	}
	var b strings.Builder
	if len(v.Problems) == 0 {
		fmt.Fprintf(&b, "sound: %d records, %d to %d\n", v.Records, v.First, v.Last)
	} else {
		fmt.Fprintf(&b, "NOT SOUND: %s\n", v.Problems[0])
		for _, p := range v.Problems[1:] {
			fmt.Fprintf(&b, "           %s\n", p)
		}
		fmt.Fprintf(&b, "read %d records, %d to %d\n", v.Records, v.First, v.Last)
	}
	fmt.Fprintf(&b, "log:      %s\n", v.Origin)
	if !v.From.IsZero() {
		fmt.Fprintf(&b, "period:   %s to %s\n", v.From.Format(time.RFC3339), v.To.Format(time.RFC3339))
	}
	fmt.Fprintf(&b, "segments: %d\nlast sum: %s\n", v.Segments, v.LastSum)
	for _, s := range v.Sealed {
		fmt.Fprintf(&b, "shard:    %s, %d records, root %s; %d of them sealed", s.Shard, s.Records, s.Root, s.Sealed)
		if len(s.SignedBy) > 0 {
			fmt.Fprintf(&b, ", signed by %s", strings.Join(s.SignedBy, ", "))
		}
		b.WriteByte('\n')
	}
	printJudged(&b, v.Exhibits, v.Judged)
	for _, n := range v.Notes {
		fmt.Fprintf(&b, "note:     %s\n", n)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
