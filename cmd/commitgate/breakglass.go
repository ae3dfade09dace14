package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/breakglass"
)

func newBreakglass() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "breakglass",
		Short: "Change the cluster without Git, on record: request, sign, apply, revoke, list, report",
		Long: `A grant lets named people change named things for a short time, whatever Git says. It is a file that as many people sign as
the gate's configuration asks, and an object in the cluster that carries it. docs/breakglass.md tells the whole way.`,
	}
	cmd.AddCommand(newBreakglassRequest(), newBreakglassSign(), newBreakglassApply(), newBreakglassRevoke(), newBreakglassList(), newBreakglassReport())
	return cmd
}

func newBreakglassRequest() *cobra.Command {
	var s v1alpha1.GrantSpec
	var from, output, config string
	var length time.Duration
	cmd := &cobra.Command{
		Use:   "request NAME",
		Short: "Write a grant for others to sign",
		Long: `Write a grant for others to sign. A list that is left out covers nothing; an empty --namespace stands for cluster-scoped
objects, and --subresource must name what CONNECT is about (exec).`,
		Example: "  commitgate breakglass request inc-7 --cluster shop --user carol@example.org --namespace shop --kind Deployment \\\n" +
			"    --operation UPDATE --for 1h --reason 'the cart is down' --ticket INC-7 --by carol@example.org --output inc-7.yaml",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			g := &v1alpha1.Grant{Spec: s}
			g.Name = args[0]
			begin := time.Now().UTC().Truncate(time.Second)
			if from != "" {
				var err error
				if begin, err = time.Parse(time.RFC3339, from); err != nil {
					return usage("--from: %w", err)
				}
			}
			if length <= 0 {
				return usage("--for is required: 1h")
			}
			g.Spec.From, g.Spec.Until = metav1.NewTime(begin), metav1.NewTime(begin.Add(length))
			if err := checkGrant(g, config); err != nil {
				return usage("nobody should sign this:\n%w", err)
			}
			return writeGrant(cmd.OutOrStdout(), output, g)
		},
	}
	f := cmd.Flags()
	f.StringVar(&s.Cluster, "cluster", "", "spec.cluster of the gate; the grant is good nowhere else")
	f.StringSliceVar(&s.Users, "user", nil, "exact user names")
	f.StringSliceVar(&s.Groups, "group", nil, "exact group names")
	f.StringArrayVar(&s.Namespaces, "namespace", nil, "pattern of namespaces, one each time; '' stands for cluster-scoped objects")
	f.StringSliceVar(&s.Kinds, "kind", nil, "Kind or Kind.group; * is every kind")
	f.StringSliceVar(&s.Names, "name", nil, "patterns of names (default every name)")
	f.StringSliceVar(&s.Operations, "operation", nil, "CREATE, UPDATE, DELETE, CONNECT; * is all")
	f.StringSliceVar(&s.Subresources, "subresource", nil, "subresources that are covered too: scale, exec")
	f.BoolVar(&s.AgentIdentity, "agent-identity", false, "also cover the ways to the sync agent's identity")
	f.StringVar(&from, "from", "", "when it begins, RFC 3339 (default now)")
	f.DurationVar(&length, "for", 0, "how long it lasts (required)")
	f.IntVar(&s.Uses, "uses", 0, "how many requests it lets pass (default no limit but time)")
	f.StringVar(&s.Reason, "reason", "", "why, for whoever signs it and for the record (required)")
	f.StringVar(&s.Ticket, "ticket", "", "of the incident")
	f.StringVar(&s.RequestedBy, "by", "", "who asks (required)")
	f.StringVar(&config, "config", "", "the gate's configuration, to hold the grant to its limits")
	f.StringVar(&output, "output", "-", "file to write")
	return cmd
}

// checkGrant tells what is wrong with a grant: as far as can be told anywhere, and by the limits of a gate's configuration, if it is there.
func checkGrant(g *v1alpha1.Grant, config string) error {
	if config == "" {
		return breakglass.Check(g)
	}
	authority, err := grantAuthority(config)
	if err != nil {
		return err
	}
	return authority.Check(g)
}

// grantAuthority reads from a gate's configuration who may sign grants, and for what.
func grantAuthority(config string) (*breakglass.Authority, error) {
	cfg, err := v1alpha1.Load(config)
	if err != nil {
		return nil, usage("configuration:\n%w", err)
	}
	authority, err := breakglass.NewAuthority(&cfg.Gate.Spec)
	if err != nil {
		return nil, usage("configuration: %w", err)
	}
	return authority, nil
}

// signWith is the flags by which a person signs: with their own program, so that keys stay where they are.
type signWith struct{ sshKey, gpgKey string }

func (w *signWith) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&w.sshKey, "ssh-key", "", "SSH key to sign with, private, or public with the private one in ssh-agent")
	cmd.Flags().StringVar(&w.gpgKey, "gpg-key", "", "OpenPGP key to sign with, as gpg --local-user takes it")
}

// sign has ssh-keygen or gpg sign a text.
func (w *signWith) sign(ctx context.Context, text []byte) (string, error) {
	var cmd *exec.Cmd
	switch {
	case (w.sshKey == "") == (w.gpgKey == ""):
		return "", usage("want one of --ssh-key and --gpg-key")
	case w.sshKey != "":
		cmd = exec.CommandContext(ctx, "ssh-keygen", "-Y", "sign", "-n", breakglass.Namespace, "-f", w.sshKey)
	default:
		cmd = exec.CommandContext(ctx, "gpg", "--armor", "--detach-sign", "--local-user", w.gpgKey)
	}
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(text), &out, os.Stderr // they may ask for a pass phrase on the terminal
	if err := cmd.Run(); err != nil {
		return "", unknown(fmt.Errorf("%s: %w", filepath.Base(cmd.Path), err))
	}
	return out.String(), nil
}

func newBreakglassSign() *cobra.Command {
	var with signWith
	var config string
	cmd := &cobra.Command{
		Use:   "sign FILE",
		Short: "Read a grant, and add your signature to its file",
		Long: `Read a grant, and add your signature to its file. What you sign is shown before. It works offline, on a laptop: ssh-keygen or gpg
signs, so a key may be on a token or in an agent.`,
		Example: "  commitgate breakglass sign inc-7.yaml --ssh-key ~/.ssh/id_ed25519",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			g, err := readGrant(args[0])
			if err != nil {
				return err
			}
			describeGrant(cmd.ErrOrStderr(), g)
			if err := checkGrant(g, config); err != nil {
				return exit{exitNo, fmt.Errorf("not signed: it would open nothing:\n%w", err)}
			}
			text, err := breakglass.Statement(g)
			if err != nil {
				return unknown(err)
			}
			signature, err := with.sign(cmd.Context(), text)
			if err != nil {
				return err
			}
			g.Signatures = append(g.Signatures, signature)
			return writeGrant(cmd.OutOrStdout(), args[0], g)
		},
	}
	with.flags(cmd)
	cmd.Flags().StringVar(&config, "config", "", "the gate's configuration, to hold the grant to its limits")
	return cmd
}

func describeGrant(out io.Writer, g *v1alpha1.Grant) {
	s := &g.Spec
	fmt.Fprintf(out, "%s lets %s %s %s in %s of cluster %s\nfrom %s until %s", g.Name, printable(strings.Join(append(s.Users, s.Groups...), ", ")), strings.Join(s.Operations, ", "),
		printable(strings.Join(s.Kinds, ", ")), printable(strings.Join(quoted(s.Namespaces), ", ")), s.Cluster, s.From.UTC().Format(time.RFC3339), s.Until.UTC().Format(time.RFC3339))
	if s.Uses > 0 {
		fmt.Fprintf(out, ", %d times", s.Uses)
	}
	if s.AgentIdentity {
		fmt.Fprint(out, ", the ways to the sync agent's identity included")
	}
	fmt.Fprintf(out, "\nbecause: %s %s (asks %s)\n", printable(s.Reason), printable(s.Ticket), printable(s.RequestedBy))
}

func quoted(namespaces []string) []string {
	out := make([]string, len(namespaces))
	for i, n := range namespaces {
		out[i] = n
		if n == "" {
			out[i] = "no namespace"
		}
	}
	return out
}

func readGrant(file string) (*v1alpha1.Grant, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, usage("%w", err)
	}
	g, err := v1alpha1.ParseGrant(data)
	if err != nil {
		return nil, usage("%s: %w", file, err)
	}
	return g, nil
}

// writeGrant writes a grant to a file, as a whole or not at all; "-" is out.
func writeGrant(out io.Writer, file string, g *v1alpha1.Grant) error {
	data, err := v1alpha1.FormatGrant(g)
	if err != nil {
		return unknown(err)
	}
	if file == "-" {
		_, err = out.Write(data)
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".grant-*")
	if err != nil {
		return unknown(err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return unknown(errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}
