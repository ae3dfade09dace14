package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/commitgate/commitgate/worker"
)

// serveOptions are the flags of serve.
type serveOptions struct {
	config, data, name  string
	listen, probeListen string
	certFile, keyFile   string
	caDir               string
	clientCA            string
	verifiedKey         string
	names               []string
	webhookName         string
	caSettle            time.Duration
	drain               time.Duration
	kubeconfig          string
	noCluster           bool
	fromCluster         bool
	status              bool
	inventoryMiB        int64
	renderMiB           int64
	scanInterval        time.Duration
	scanLease           string
	hookSecrets         []string
	uiListen            string
	otlpEndpoint        string
	uiHosts             []string
	logLevel, logFormat string
	audit               auditOptions
	registration        registrationOptions
}

func newServe() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve --config FILE|DIR | --from-cluster",
		Short: "Run the gate",
		Long: `Run the gate: mirror and verify the trusted repositories, and answer the API server's AdmissionReviews
on /review. Health (/livez, /readyz), metrics (/metrics) and what the gate says of itself (/status) are served beside it, without TLS.`,
		Example: "  commitgate serve --config /etc/commitgate --tls-name commitgate.commitgate.svc",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return serve(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.config, "config", "", "file or folder with the Gate and its TrustedRepositories, watched for changes")
	f.BoolVar(&o.fromCluster, "from-cluster", false, "go by the Gate and TrustedRepositories of the cluster, instead of --config; what was last gone by is kept in DATA for a start without them")
	f.StringVar(&o.data, "data", "/var/lib/commitgate", "folder for mirrors, the audit log and the certificate authority; must outlive restarts")
	f.StringVar(&o.name, "name", "", "name of this replica, in its records and as the end of its log's origin (default the host name, which is the pod's)")
	f.StringVar(&o.listen, "listen", ":10250", "address for the API server's reviews, with TLS")
	f.StringVar(&o.probeListen, "probe-listen", ":8080", "address for /livez, /readyz, /metrics and /status")
	f.StringVar(&o.certFile, "tls-cert", "", "certificate file, watched for changes; without it the gate's own authority issues one")
	f.StringVar(&o.keyFile, "tls-key", "", "key file of --tls-cert")
	f.StringVar(&o.caDir, "ca", "", "folder of the gate's own authorities (ca.crt, ca.key), watched for changes, one made if it is empty (default DATA/ca)")
	f.StringVar(&o.webhookName, "webhook-configuration", "commitgate", "ValidatingWebhookConfiguration whose caBundle says which of several authorities in --ca is trusted already")
	f.DurationVar(&o.caSettle, "ca-settle", 3*time.Minute, "how long a new authority must be in that caBundle before certificates are issued from it: API servers and other replicas have to see it")
	f.DurationVar(&o.drain, "drain", 5*time.Second, "how long to go on answering after SIGTERM, unready, so that nobody new is sent here when the port closes")
	f.StringVar(&o.clientCA, "client-ca", "", "certificates, watched for changes, that may have signed the API server's client certificate; with it, nobody else is answered")
	f.StringSliceVar(&o.names, "tls-name", []string{"localhost", "127.0.0.1"}, "DNS names and IP addresses of the certificate that the own authority issues")
	f.StringVar(&o.verifiedKey, "verified-key", "", "file with 32 secret bytes or more, not under --data: remember verified commits, and what they render to, across restarts, authenticated with it")
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "cluster to watch owners in (default the cluster that the gate runs in)")
	f.BoolVar(&o.noCluster, "no-cluster", false, "watch no cluster: owners are known from reviews only")
	f.BoolVar(&o.status, "status", true, "write the status of the custom resources, of the replicas the one that holds the Lease commitgate-status, and Events of refusals")
	f.DurationVar(&o.scanInterval, "scan-interval", 0, "compare the whole cluster with Git this often; needs list on everything, and apply on openreports.io for its reports (0 is never)")
	f.StringVar(&o.scanLease, "scan-lease", "", "NAMESPACE/NAME of a Lease: of the replicas, only the one that holds it scans")
	f.Int64Var(&o.inventoryMiB, "inventory-memory", 256, "memory for the objects of the cluster that policies compare with, in MiB; past it, requests that need them are refused")
	f.Int64Var(&o.renderMiB, "render-memory", worker.DefaultMemory>>20, "memory for the process that renders a chart or kustomization, in MiB, and there may be two; what takes more is refused")
	f.StringArrayVar(&o.hookSecrets, "hook-secret", nil, "file with the secret of a Git host's push hooks, taken on /hook of the probe address; may be repeated to rotate")
	f.StringVar(&o.uiListen, "ui-listen", "", "address for the read-only web view, such as 127.0.0.1:8081, reached by kubectl port-forward; it has no log-in of its own (\"\" is none)")
	f.StringSliceVar(&o.uiHosts, "ui-host", nil, "further names by which browsers may ask for the web view, beside localhost")
	f.StringVar(&o.otlpEndpoint, "otlp-endpoint", "", "URL of an OpenTelemetry collector for traces (OTLP over HTTP), such as http://collector:4318; the standard OTEL_EXPORTER_OTLP_* variables hold, too (none is no traces)")
	o.audit.flags(f)
	o.registration.flags(f)
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&o.logFormat, "log-format", "json", "json or text")
	return cmd
}

func serve(ctx context.Context, o serveOptions) error {
	log, err := newLogger(o.logLevel, o.logFormat)
	if err != nil {
		return usage("%w", err)
	}
	// The Kubernetes libraries log by loggers of the whole process: they speak in the gate's log, or not at all.
	klog.SetSlogLogger(log)
	ctrllog.SetLogger(logr.FromSlogHandler(log.Handler()))
	switch {
	case o.config == "" && !o.fromCluster:
		return usage("--config or --from-cluster is required; see commitgate serve --help")
	case o.config != "" && o.fromCluster:
		return usage("--config and --from-cluster contradict each other")
	case o.fromCluster && o.noCluster:
		return usage("--from-cluster and --no-cluster contradict each other")
	case (o.certFile == "") != (o.keyFile == ""):
		return usage("--tls-cert and --tls-key go together")
	case o.noCluster && o.kubeconfig != "":
		return usage("--kubeconfig and --no-cluster contradict each other")
	case o.drain < 0:
		return usage("--drain: negative")
	case o.scanInterval < 0:
		return usage("--scan-interval: negative")
	case o.renderMiB < worker.LeastMemory>>20:
		return usage("--render-memory: less than %d MiB", worker.LeastMemory>>20)
	case o.audit.retention < 0 || o.audit.sealInterval < 0:
		return usage("--audit-retention and --audit-seal-interval: negative")
	case len(o.audit.peers) > 0 && o.audit.witnessKey == "":
		return usage("--audit-peer needs --audit-witness-key: who wants cosignatures gives them")
	}
	if err := o.registration.check(o.noCluster); err != nil {
		return err
	}
	cfg, follow, err := o.configuration(ctx, log)
	if err != nil {
		return err
	}
	defer runtime.KeepAlive(newCollectorRoom())
	g, err := newGate(ctx, cfg, o, log)
	if err != nil {
		return unknown(err)
	}
	g.changes = newChanges()
	follow(g)
	if err := g.run(ctx); err != nil {
		return unknown(err)
	}
	return nil
}

func newLogger(level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level: %w", err)
	}
	options := &slog.HandlerOptions{Level: l}
	switch format {
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, options)), nil
	case "text":
		return slog.New(slog.NewTextHandler(os.Stderr, options)), nil
	}
	return nil, fmt.Errorf("--log-format %q: want json or text", format)
}
