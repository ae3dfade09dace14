package outcome

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"net/http"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/commitgate/commitgate/audit"
)

// maxBatch bounds one posted batch: the API server sends at most 400 events at a time, with bodies at worst.
const maxBatch = 64 << 20

// remembered is how many events are known again when the API server posts a batch twice.
const remembered = 1 << 16

// Appender is the log that outcomes and findings are written to.
type Appender interface {
	Append(context.Context, audit.Record) (audit.Record, error)
}

// Handler takes what the API server's webhook audit backend posts, and writes one outcome record for each decision it tells
// of and one finding record for each gap. It answers 200 only when they are durable: the API server keeps a batch until then.
//
// It sees the events of all replicas' decisions and only knows its own log, so it joins by annotation alone; whether
// each record exists is shown by `commitgate audit outcomes` over all logs.
type Handler struct {
	log        Appender
	webhook    string
	token      []byte
	logger     *slog.Logger
	exclusions []Exclusion

	outcomes *prometheus.CounterVec
	findings *prometheus.CounterVec

	mu    sync.Mutex // one batch at a time: order, and seen
	seen  map[[16]byte]struct{}
	order [][16]byte
}

// HandlerConfig says who may post and what is left out.
type HandlerConfig struct {
	Log Appender
	// Webhook as in Config.
	Webhook string
	// Token that the API server must present; empty if its TLS client certificate is checked before.
	Token      string
	Exclusions []Exclusion
	Logger     *slog.Logger
}

// NewHandler returns a handler for POST.
func NewHandler(cfg HandlerConfig) *Handler {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Handler{
		log: cfg.Log, webhook: cfg.Webhook, token: []byte(cfg.Token), logger: cfg.Logger, exclusions: cfg.Exclusions,
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gate_audit_outcomes_total", Help: "Decisions whose outcome the API server told."}, []string{"state"}),
		findings: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gate_audit_findings_total", Help: "Changes without a decision, and other gaps."}, []string{"kind", "severity"}),
		seen:     map[[16]byte]struct{}{},
	}
}

// Metrics returns the collectors of the handler, to be registered by the program.
func (h *Handler) Metrics() []prometheus.Collector {
	return []prometheus.Collector{h.outcomes, h.findings}
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		http.Error(w, "want POST", http.StatusMethodNotAllowed)
		return
	}
	if len(h.token) > 0 {
		got := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if subtle.ConstantTimeCompare([]byte(got), h.token) != 1 {
			http.Error(w, "not the API server", http.StatusUnauthorized)
			return
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var records []audit.Record
	join := NewJoiner(Config{
		Webhook: h.webhook, Exclusions: h.exclusions, Partial: true,
		Outcome: func(o Outcome) { records = append(records, outcomeRecord(o)) },
		Finding: func(f Finding) { records = append(records, findingRecord(f)) },
	})
	var keys [][16]byte
	for e, err := range List(http.MaxBytesReader(w, r.Body, maxBatch)) {
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		key := keyOf(&e)
		if _, again := h.seen[key]; again {
			continue
		}
		keys = append(keys, key)
		join.Event(&e)
	}
	if err := h.write(r.Context(), records); err != nil {
		h.logger.Error("outcomes were not recorded; the API server will send them again", "err", err)
		http.Error(w, "the audit log cannot be written", http.StatusServiceUnavailable)
		return
	}
	h.remember(keys)
	w.WriteHeader(http.StatusOK)
}

// write appends the records together, so that they share their syncs.
func (h *Handler) write(ctx context.Context, records []audit.Record) error {
	errs := make([]error, len(records))
	var wg sync.WaitGroup
	gate := make(chan struct{}, 128)
	for i, r := range records {
		gate <- struct{}{}
		wg.Go(func() {
			_, errs[i] = h.log.Append(ctx, r)
			<-gate
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	for _, r := range records {
		if r.Type == audit.TypeOutcome {
			h.outcomes.WithLabelValues(r.Outcome.State).Inc()
			continue
		}
		h.findings.WithLabelValues(r.Event.Details["kind"], r.Event.Details["severity"]).Inc()
		h.logger.Warn("finding in the API server's audit stream", "kind", r.Event.Details["kind"], "object", r.Event.Details["object"], "user", r.Actor.Username)
	}
	return nil
}

// keyOf knows an event again. The auditID alone is the client's to choose.
func keyOf(e *Event) (k [16]byte) {
	h := sha256.New()
	for _, s := range []string{e.AuditID, e.Stage, e.Verb, e.RequestURI, e.User.Username, e.Received.String(), e.At.String()} {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	copy(k[:], h.Sum(nil))
	return k
}

func (h *Handler) remember(keys [][16]byte) {
	for _, k := range keys {
		h.seen[k] = struct{}{}
	}
	h.order = append(h.order, keys...)
	for len(h.order) > remembered {
		delete(h.seen, h.order[0])
		h.order = h.order[1:]
	}
}

func outcomeRecord(o Outcome) audit.Record {
	at := o.At
	return audit.Record{Type: audit.TypeOutcome, Outcome: &audit.Outcome{
		Of: o.Record, State: o.State, ResourceVersion: o.ResourceVersion, At: &at, Via: "audit-webhook", AuditID: o.AuditID, Code: o.Code,
	}}
}

func findingRecord(f Finding) audit.Record {
	at := f.At
	return audit.Record{
		Type:    audit.TypeFinding,
		Actor:   &audit.Actor{Username: f.User, Role: "other"},
		Outcome: &audit.Outcome{Of: f.Record, State: string(f.Kind), At: &at, Via: "audit-webhook", AuditID: f.AuditID, Code: f.Code},
		Event: &audit.Event{Message: f.What, Details: map[string]string{
			"kind": string(f.Kind), "severity": string(f.Severity), "verb": f.Verb, "object": f.Object,
		}},
	}
}
