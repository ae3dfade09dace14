package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/commitgate/commitgate/audit/seal"
)

// defaultWitnessKey is the key with which a replica cosigns, in the data folder, where its operator gave none.
const defaultWitnessKey = "witness.key"

func newAuditPeer() *cobra.Command {
	var logKey string
	cmd := &cobra.Command{
		Use:   "peer DATA",
		Short: "Print by which keys the other replicas know this one",
		Long: `Print the verifier keys of a replica, of its audit log and of its witness, as a file of serve --audit-peers holds
them. DATA is the data folder of a replica that has run with --audit-peers, which makes both keys there. What is
printed is no secret; take it from where you know that it is true.`,
		Example: "  kubectl exec commitgate-0 -- /commitgate audit peer /var/lib/commitgate",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if logKey == "" {
				logKey = filepath.Join(args[0], defaultAuditKey+".pub")
			}
			for _, file := range []string{logKey, filepath.Join(args[0], defaultWitnessKey+".pub")} {
				keys, err := seal.ReadVerifiers(file)
				if err != nil {
					return unknown(err)
				}
				if len(keys) != 1 {
					return unknown(fmt.Errorf("%s holds %d keys, want one", file, len(keys)))
				}
				fmt.Fprintln(cmd.OutOrStdout(), keys[0])
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&logKey, "log-key", "", "file with the verifier key of the log, if another than DATA/audit.key seals it")
	return cmd
}

// auditPeers reads URL=FILE; known are the keys of the peers' logs, by origin.
func auditPeers(flags []string) (peers []seal.Peer, known map[string]note.Verifier, err error) {
	known = map[string]note.Verifier{}
	for _, flag := range flags {
		url, file, ok := strings.Cut(flag, "=")
		if !ok {
			return nil, nil, fmt.Errorf("--audit-peer %s: want URL=FILE", flag)
		}
		log, witness, err := readPeer(file)
		if err != nil {
			return nil, nil, fmt.Errorf("--audit-peer: %w", err)
		}
		known[log.Name()] = log
		peers = append(peers, seal.Peer{URL: url, Verifier: witness})
	}
	return peers, known, nil
}

// readPeer reads the keys of a peer: of its log, and of its witness.
func readPeer(file string) (log, witness note.Verifier, err error) {
	keys, err := seal.ReadVerifiers(file)
	if err != nil {
		return nil, nil, err
	}
	if len(keys) != 2 {
		return nil, nil, fmt.Errorf("%s holds %d keys: want two, of its log and of its witness", file, len(keys))
	}
	logs, err := seal.ParseVerifiers(keys[:1])
	if err == nil {
		witness, err = seal.ParseWitness(keys[1])
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", file, err)
	}
	return logs[0], witness, nil
}

// replicaPeers are those of --audit-peers but this replica itself; known gets the keys of their logs. A folder that is not there is no peers: it is a
// volume that is mounted when somebody has collected the keys.
func replicaPeers(o auditOptions, self string, known map[string]note.Verifier, log *slog.Logger) ([]seal.Peer, error) {
	if strings.Count(o.peerURL, "%s") != 1 {
		return nil, fmt.Errorf("--audit-peer-url %s: want one %%s, for the name of a replica", o.peerURL)
	}
	entries, err := os.ReadDir(o.peersDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("--audit-peers: %w", err)
	}
	var peers []seal.Peer
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, "..") || name == self { // of a mounted ConfigMap
			continue
		}
		key, witness, err := readPeer(filepath.Join(o.peersDir, name))
		if err != nil {
			return nil, fmt.Errorf("--audit-peers: %w", err)
		}
		known[key.Name()] = key
		peers = append(peers, seal.Peer{URL: strings.Replace(o.peerURL, "%s", name, 1), Verifier: witness})
	}
	if len(peers) > 0 {
		log.Info("other replicas cosign the audit log", "logs", slices.Sorted(maps.Keys(known)))
	}
	return peers, nil
}

func witnesses(peers []seal.Peer) (vs []note.Verifier) {
	for _, p := range peers {
		vs = append(vs, p.Verifier)
	}
	return vs
}

// defaultWitness is the key file of this replica's witness, made where the operator gave none.
func defaultWitness(o serveOptions, origin string) (string, error) {
	if o.audit.witnessKey != "" {
		return o.audit.witnessKey, nil
	}
	path := filepath.Join(o.data, defaultWitnessKey)
	if err := newKeyFile(path, origin+"/witness"); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("witness key: %w", err)
	}
	return path, nil
}

func openWitness(dir, keyFile string, known map[string]note.Verifier) (*seal.Witness, error) {
	secret, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, fmt.Errorf("--audit-witness-key: %w", err)
	}
	return seal.NewWitness(dir, strings.TrimSpace(string(secret)), known)
}
