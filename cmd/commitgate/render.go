package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/track"
)

func newRender() *cobra.Command {
	var from truthFlags
	var output string
	cmd := &cobra.Command{
		Use:   "render --config FILE|DIR",
		Short: "Show what Git declares, as the agent applies it",
		Long: `Show every object that Git declares, with the namespace, labels and annotations that its agent gives it.
Signatures are not judged here: whatever the revision says is shown (commitgate check judges them).
What Git asks an agent for and is not followed (a chart from the network) is named on the standard error.
Exit status: 0 rendered, 1 the revision does not render, 2 usage, 3 could not tell.`,
		Example: "  commitgate render --config gate.yaml --revision infra=HEAD -o tree",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			show, err := rendering(output)
			if err != nil {
				return err
			}
			_, at, err := from.load()
			if err != nil {
				return err
			}
			at.Vouch = true
			truth, err := track.At(cmd.Context(), at)
			if err != nil {
				return notTrue(err)
			}
			for _, p := range truth.Current.Rendered.Unfollowed {
				fmt.Fprintf(cmd.ErrOrStderr(), "commitgate: %s\n", p)
			}
			out := bufio.NewWriter(cmd.OutOrStdout())
			if err := show(out, truth.Current.Rendered); err != nil {
				return unknown(err)
			}
			return out.Flush()
		},
	}
	from.register(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "yaml", "yaml, json (a line per object) or tree (who applies what from where)")
	return cmd
}

func rendering(output string) (func(io.Writer, *manifest.Set) error, error) {
	switch output {
	case "yaml":
		return renderYAML, nil
	case "json":
		return renderJSON, nil
	case "tree":
		return renderTree, nil
	}
	return nil, usage("-o %s: want yaml, json or tree", output)
}

// renderYAML is what the agents apply, each object under a comment with its place.
func renderYAML(w io.Writer, set *manifest.Set) error {
	for _, o := range set.Objects {
		text, err := yaml.Marshal(o.Applied())
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "---\n# Source: %s%s\n%s", o.Source, by(o), text); err != nil {
			return err
		}
	}
	return nil
}

func by(o *manifest.Object) string {
	if o.Owner.Kind == "" {
		return ""
	}
	return ", applied by " + o.OwnerKey().String()
}

// renderedObject is one line of JSON.
type renderedObject struct {
	Object  string         `json:"object"`
	Source  string         `json:"source"`
	Agent   string         `json:"agent"`
	Owner   string         `json:"owner,omitempty"`
	Opaque  []string       `json:"opaque,omitempty"`
	Content map[string]any `json:"content"`
}

func renderJSON(w io.Writer, set *manifest.Set) error {
	lines := json.NewEncoder(w)
	for _, o := range set.Objects {
		r := renderedObject{Object: o.Key.String(), Source: o.Source.String(), Agent: o.Owner.Agent, Opaque: o.Opaque, Content: o.Applied()}
		if o.Owner.Kind != "" {
			r.Owner = o.OwnerKey().String()
		}
		if err := lines.Encode(r); err != nil {
			return err
		}
	}
	return nil
}

// renderTree is root → agent's object → path → objects.
func renderTree(w io.Writer, set *manifest.Set) error {
	below := map[manifest.Key][]*manifest.Build{}
	declared := map[manifest.Key]bool{}
	for _, o := range set.Objects {
		declared[o.Key] = true
	}
	var roots []*manifest.Build
	for _, b := range set.Builds {
		if k := b.OwnerKey(); b.Owner.Kind != "" && declared[k] {
			below[k] = append(below[k], b)
		} else {
			roots = append(roots, b)
		}
	}
	p := &treePrinter{w: w, below: below, shown: map[manifest.Key]bool{}}
	for _, b := range roots {
		p.build(b, 0)
	}
	return p.err
}

type treePrinter struct {
	w     io.Writer
	below map[manifest.Key][]*manifest.Build
	shown map[manifest.Key]bool // an application may apply itself
	err   error
}

func (p *treePrinter) line(depth int, format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, strings.Repeat("  ", depth)+format+"\n", args...)
	}
}

func (p *treePrinter) build(b *manifest.Build, depth int) {
	name := "root"
	if b.Owner.Kind != "" {
		name = b.OwnerKey().String()
		p.shown[b.OwnerKey()] = true
	}
	if b.Part != "" {
		name += ", " + b.Part
	}
	if b.Repository == "" {
		p.line(depth, "%s (%s): not followed", name, b.Owner.Agent)
		return
	}
	p.line(depth, "%s (%s): %s:%s", name, b.Owner.Agent, b.Repository, b.Path)
	for _, o := range b.Objects {
		p.line(depth+1, "%s  %s", o.Key, o.Source)
		if !p.shown[o.Key] {
			for _, b := range p.below[o.Key] {
				p.build(b, depth+2)
			}
		}
	}
}
