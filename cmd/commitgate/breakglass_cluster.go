package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/breakglass"
	"github.com/commitgate/commitgate/watch"
)

// userGrants reaches the grants of a cluster as kubectl would.
func userGrants(kubeconfig string) (dynamic.NamespaceableResourceInterface, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, unknown(err)
	}
	client, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, unknown(err)
	}
	return client.Resource(watch.GrantResource()), nil
}

const kubeconfigHelp = "how to reach the cluster (default as kubectl does)"

func newBreakglassApply() *cobra.Command {
	var kubeconfig string
	cmd := &cobra.Command{
		Use:     "apply FILE",
		Short:   "Bring a signed grant to the cluster",
		Long:    "Bring a signed grant to the cluster. The gate refuses it, and says why, if its signatures do not suffice.",
		Example: "  commitgate breakglass apply inc-7.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			g, err := readGrant(args[0])
			if err != nil {
				return err
			}
			grants, err := userGrants(kubeconfig)
			if err != nil {
				return err
			}
			data, err := v1alpha1.FormatGrant(g)
			if err != nil {
				return unknown(err)
			}
			object, err := asUnstructured(data)
			if err != nil {
				return unknown(err)
			}
			if _, err := grants.Create(cmd.Context(), object, metav1.CreateOptions{FieldManager: "commitgate"}); err != nil {
				return exit{exitNo, err}
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is in the cluster until %s\n", g.Name, g.Spec.Until.UTC().Format(time.RFC3339))
			return err
		},
	}
	cmd.Flags().StringVar(&kubeconfig, "kubeconfig", "", kubeconfigHelp)
	return cmd
}

func asUnstructured(data []byte) (*unstructured.Unstructured, error) {
	g, err := v1alpha1.ParseGrant(data)
	if err != nil {
		return nil, err
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(g)
	if err != nil {
		return nil, err
	}
	delete(content, "status")
	return &unstructured.Unstructured{Object: content}, nil
}

func newBreakglassRevoke() *cobra.Command {
	var with signWith
	var kubeconfig, reason string
	cmd := &cobra.Command{
		Use:     "revoke FILE",
		Short:   "End a grant before its time, signed by one who may sign grants",
		Long:    "End a grant before its time: your signature goes into its file and to the cluster. Deleting the object ends it too.",
		Example: "  commitgate breakglass revoke inc-7.yaml --reason 'the cart is up' --ssh-key ~/.ssh/id_ed25519",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if reason == "" {
				return usage("--reason is required")
			}
			g, err := readGrant(args[0])
			if err != nil {
				return err
			}
			text, err := breakglass.RevocationStatement(g, reason)
			if err != nil {
				return unknown(err)
			}
			signature, err := with.sign(cmd.Context(), text)
			if err != nil {
				return err
			}
			g.Revocation = &v1alpha1.Revocation{Reason: reason, Signatures: []string{signature}}
			if err := writeGrant(cmd.OutOrStdout(), args[0], g); err != nil {
				return err
			}
			grants, err := userGrants(kubeconfig)
			if err != nil {
				return err
			}
			patch, err := json.Marshal(map[string]any{"revocation": g.Revocation})
			if err != nil {
				return unknown(err)
			}
			if _, err := grants.Patch(cmd.Context(), g.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "commitgate"}); err != nil {
				return exit{exitNo, err}
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is revoked\n", g.Name)
			return err
		},
	}
	with.flags(cmd)
	cmd.Flags().StringVar(&kubeconfig, "kubeconfig", "", kubeconfigHelp)
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record (required)")
	return cmd
}

func newBreakglassList() *cobra.Command {
	var kubeconfig, config, output string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the grants of a cluster, and where they stand",
		Long: `List the grants of a cluster. With --config their signatures are checked here, by the gate's configuration; without it a grant is
shown by its time alone.`,
		Example: "  commitgate breakglass list --config gate.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "table" && output != "json" {
				return usage("-o %s: want table or json", output)
			}
			var authority *breakglass.Authority
			if config != "" {
				var err error
				if authority, err = grantAuthority(config); err != nil {
					return err
				}
			}
			grants, err := userGrants(kubeconfig)
			if err != nil {
				return err
			}
			list, err := grants.List(cmd.Context(), metav1.ListOptions{})
			if err != nil {
				return unknown(err)
			}
			return showGrants(cmd, list.Items, authority, config != "", output)
		},
	}
	cmd.Flags().StringVar(&kubeconfig, "kubeconfig", "", kubeconfigHelp)
	cmd.Flags().StringVar(&config, "config", "", "the gate's configuration, to check signatures by")
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json (a line per grant)")
	return cmd
}

// listedGrant is a grant as list shows it.
type listedGrant struct {
	Name     string             `json:"name"`
	State    breakglass.State   `json:"state"`
	Why      string             `json:"why,omitempty"`
	SignedBy []string           `json:"signedBy,omitempty"`
	Spec     v1alpha1.GrantSpec `json:"spec"`
}

func showGrants(cmd *cobra.Command, items []unstructured.Unstructured, authority *breakglass.Authority, check bool, output string) error {
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	e := json.NewEncoder(cmd.OutOrStdout())
	if output == "table" {
		fmt.Fprintln(w, "NAME\tSTATE\tUNTIL\tUSERS\tTICKET\tSIGNED BY\tREASON")
	}
	for i := range items {
		g := new(v1alpha1.Grant)
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(items[i].Object, g); err != nil {
			return unknown(err)
		}
		l := stand(g, authority, check)
		if output == "json" {
			if err := e.Encode(l); err != nil {
				return unknown(err)
			}
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", l.Name, l.State, l.Spec.Until.UTC().Format(time.RFC3339), printable(strings.Join(l.Spec.Users, ",")),
			printable(l.Spec.Ticket), strings.Join(l.SignedBy, ","), printable(strings.TrimSpace(l.Spec.Reason+" "+l.Why)))
	}
	return w.Flush()
}

// stand tells where a grant stands as far as can be told from outside the gate, which alone knows its uses.
func stand(g *v1alpha1.Grant, authority *breakglass.Authority, check bool) listedGrant {
	l := listedGrant{Name: g.Name, Spec: g.Spec}
	now := time.Now()
	good := &breakglass.Grant{Name: g.Name, Spec: g.Spec}
	if g.Revocation != nil {
		good.Revoked = g.Revocation.Reason
	}
	if check {
		var err error
		if good, err = authority.Judge(g, now); err != nil {
			l.State, l.Why = breakglass.Refused, err.Error()
			return l
		}
		for _, p := range good.SignedBy {
			l.SignedBy = append(l.SignedBy, string(p))
		}
	}
	l.State, l.Why = good.StateAt(now, 0), good.Revoked
	return l
}

func newBreakglassReport() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "report NAME LOG",
		Short: "List what was changed under a grant, to bring it back to Git",
		Long: `List what was changed under a grant, object by object, from an audit log: what is declared in Git must be changed there or will be
put back by the sync agent; what is not declared must be declared or removed.`,
		Example: "  commitgate breakglass report inc-7 /var/lib/commitgate/audit",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "table" && output != "json" {
				return usage("-o %s: want table or json", output)
			}
			changes, err := changedUnder(args[0], args[1])
			if err != nil {
				return err
			}
			return showChanges(cmd, args[0], changes, output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json (a line per object)")
	return cmd
}

// grantChange is an object that was changed under a grant.
type grantChange struct {
	Object     string    `json:"object"` // Kind namespace/name
	Operations []string  `json:"operations"`
	By         []string  `json:"by"`
	Last       time.Time `json:"last"`
	Path       string    `json:"path,omitempty"` // where Git declares it; "" if it does not
}

func changedUnder(name, dir string) ([]grantChange, error) {
	segments, err := audit.Segments(dir)
	if err != nil {
		return nil, usage("%w", err)
	}
	var order []string
	objects := map[string]*grantChange{}
	for line, err := range audit.Records(segments) {
		if err != nil {
			return nil, unknown(err)
		}
		r, err := line.Decode()
		if err != nil {
			return nil, unknown(err)
		}
		if r.Emergency == nil || r.Emergency.Grant != name || r.Request == nil || r.Decision == nil || r.Decision.Outcome != "allow" {
			continue
		}
		object := strings.TrimSpace(r.Request.Kind + " " + strings.TrimPrefix(r.Request.Namespace+"/"+r.Request.Name, "/"))
		c := objects[object]
		if c == nil {
			c = &grantChange{Object: object}
			objects[object], order = c, append(order, object)
		}
		operation := strings.TrimSuffix(r.Request.Operation+"/"+r.Request.Subresource, "/")
		if !slices.Contains(c.Operations, operation) {
			c.Operations = append(c.Operations, operation)
		}
		if r.Actor != nil && !slices.Contains(c.By, r.Actor.Username) {
			c.By = append(c.By, r.Actor.Username)
		}
		c.Last = r.Time
		if r.Origin != nil {
			c.Path = string(r.Origin.Path)
		}
	}
	out := make([]grantChange, len(order))
	for i, object := range order {
		out[i] = *objects[object]
	}
	return out, nil
}

func showChanges(cmd *cobra.Command, name string, changes []grantChange, output string) error {
	if output == "json" {
		e := json.NewEncoder(cmd.OutOrStdout())
		for _, c := range changes {
			if err := e.Encode(c); err != nil {
				return unknown(err)
			}
		}
		return nil
	}
	if len(changes) == 0 {
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "nothing was changed under %s\n", name)
		return err
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "OBJECT\tWHAT\tBY\tLAST\tBRING BACK TO GIT")
	for _, c := range changes {
		todo := "declare it, or remove it from the cluster"
		if c.Path != "" {
			todo = "change " + c.Path + ", or let the agent put it back"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", printable(c.Object), strings.Join(c.Operations, ","), printable(strings.Join(c.By, ",")), c.Last.UTC().Format(time.RFC3339), printable(todo))
	}
	return w.Flush()
}
