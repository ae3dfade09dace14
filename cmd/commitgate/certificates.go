package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"

	"github.com/commitgate/commitgate/authority"
)

// certificates are what the gate shows to the API server, and what it wants to see of it.
type certificates struct {
	config *tls.Config
	// One of the two: certificates from files, or of the own authority.
	files *certwatcher.CertWatcher
	own   *authority.Server
	// clients are those who may have signed the API server's certificate; nil: anybody is answered.
	clients *clientAuthorities
	// bundle is by what the API server knows it; nil: there is no cluster.
	bundle *caBundle
}

// openCertificates reads or makes the certificates that the flags name.
func openCertificates(o serveOptions, log *slog.Logger) (*certificates, error) {
	c := &certificates{config: &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}}
	trusted, err := trustedBundle(o)
	if err != nil {
		return nil, err
	}
	if trusted != nil {
		c.bundle = &caBundle{read: trusted, log: log}
	}
	if o.certFile != "" {
		if c.files, err = certwatcher.New(o.certFile, o.keyFile); err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
		c.config.GetCertificate = c.files.GetCertificate
	} else {
		config := authority.Config{Dir: o.authority(), Names: o.names, Trusted: trusted, Settle: o.caSettle, Log: log, Now: time.Now}
		if c.own, err = authority.Open(config); err != nil {
			return nil, err
		}
		c.config.GetCertificate = c.own.Certificate
	}
	if o.clientCA != "" {
		c.clients = &clientAuthorities{file: o.clientCA, log: log}
		if err := c.clients.look(); err != nil {
			return nil, err
		}
		c.config.ClientAuth = tls.RequireAndVerifyClientCert
		c.config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
			now := c.config.Clone()
			now.GetConfigForClient, now.ClientCAs = nil, c.clients.current.Load().pool
			return now, nil
		}
	}
	return c, nil
}

// trustedBundle reads by what the API server knows the gate; nil: there is no cluster to read it in.
func trustedBundle(o serveOptions) (func(context.Context) ([]byte, error), error) {
	if o.noCluster {
		return nil, nil
	}
	cluster, err := restConfig(o.kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("cluster: %w (--no-cluster runs without one)", err)
	}
	client, err := kubernetes.NewForConfig(cluster)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) ([]byte, error) {
		configuration, err := client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(ctx, o.webhookName, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		if len(configuration.Webhooks) == 0 {
			return nil, fmt.Errorf("%s holds no webhook", o.webhookName)
		}
		return configuration.Webhooks[0].ClientConfig.CABundle, nil
	}, nil
}

// clientLook is how often the file of the client authorities is read.
const clientLook = 10 * time.Second

// run follows changes of the certificates until the context ends.
func (c *certificates) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	if c.clients != nil {
		group.Go(func() error { c.clients.run(ctx); return nil })
	}
	if c.bundle != nil {
		group.Go(func() error { c.bundle.run(ctx); return nil })
	}
	if c.own != nil {
		group.Go(func() error { c.own.Run(ctx); return nil })
	} else {
		group.Go(func() error { return c.files.Start(ctx) })
	}
	return group.Wait()
}

// clientAuthorities are those of --client-ca, as the file holds them now: they rotate without a restart.
type clientAuthorities struct {
	file    string
	log     *slog.Logger
	current atomic.Pointer[clientPool]
}

type clientPool struct {
	text []byte
	pool *x509.CertPool
	// expires is when the first of them ends.
	expires time.Time
}

// look reads the file. After an error what was read before holds.
func (c *clientAuthorities) look() error {
	text, err := os.ReadFile(c.file)
	if err != nil {
		return fmt.Errorf("--client-ca: %w", err)
	}
	if p := c.current.Load(); p != nil && bytes.Equal(p.text, text) {
		return nil
	}
	certs, err := authority.Certificates(text)
	if err == nil && len(certs) == 0 {
		err = errors.New("no certificate")
	}
	if err != nil {
		return fmt.Errorf("--client-ca %s: %w", c.file, err)
	}
	p := &clientPool{text: text, pool: x509.NewCertPool(), expires: certs[0].NotAfter}
	for _, cert := range certs {
		p.pool.AddCert(cert)
		if cert.NotAfter.Before(p.expires) {
			p.expires = cert.NotAfter
		}
	}
	c.current.Store(p)
	return nil
}

func (c *clientAuthorities) run(ctx context.Context) {
	tick := time.NewTicker(clientLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := c.look(); err != nil {
				c.log.Error("the authorities of the API server's certificate cannot be read; those read before hold", "err", err)
			}
		}
	}
}

// expiryMetric is the end of each certificate.
type expiryMetric struct {
	c    *certificates
	desc *prometheus.Desc
}

func (c *certificates) metrics() prometheus.Collector {
	return &expiryMetric{c, prometheus.NewDesc("gate_certificate_expiry_timestamp_seconds",
		"When a certificate ends: serving (shown to the API server, renewed by itself), authority (the own one that issues it), client_authority (the first of --client-ca), ca_bundle (what the API server believes serving by, the caBundle of the webhook configuration; 0: nothing there).",
		[]string{"certificate"}, nil)}
}

// Describe implements prometheus.Collector.
func (m *expiryMetric) Describe(ch chan<- *prometheus.Desc) { ch <- m.desc }

// Collect implements prometheus.Collector.
func (m *expiryMetric) Collect(ch chan<- prometheus.Metric) {
	for name, end := range m.c.ends() {
		seconds := 0.0
		if !end.IsZero() {
			seconds = float64(end.Unix())
		}
		ch <- prometheus.MustNewConstMetric(m.desc, prometheus.GaugeValue, seconds, name)
	}
}

// ends are when the certificates end, by what they are for; zero: the API server does not believe what is shown to it.
func (c *certificates) ends() map[string]time.Time {
	out := map[string]time.Time{}
	if leaf, err := c.config.GetCertificate(nil); err == nil {
		if cert, err := x509.ParseCertificate(leaf.Certificate[0]); err == nil {
			out["serving"] = cert.NotAfter
		}
		if c.bundle != nil {
			if end, ok := c.bundle.end(leaf); ok {
				out["ca_bundle"] = end
			}
		}
	}
	if c.own != nil {
		out["authority"] = c.own.Expiry()
	}
	if c.clients != nil {
		out["client_authority"] = c.clients.current.Load().expires
	}
	return out
}
