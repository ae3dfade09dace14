// Package trace tells a collector where the time of a request or of a push went, as OpenTelemetry spans. It is the one door to that library.
//
// It is off unless somebody names a collector, and then costs nothing: a nil Tracer makes nil Spans. A span holds names (kind, namespace, name, reason,
// commit), never a value of an object. What cannot be sent is dropped; nobody waits for a collector.
package trace

import (
	"context"
	"log/slog"
	"net/http"
	"os"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"
)

// Tracer begins spans. A nil Tracer is one that is off.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   oteltrace.Tracer
}

// Open traces to a collector that takes OTLP over HTTP (https://opentelemetry.io/docs/specs/otlp/): endpoint is its URL, such as
// http://collector:4318; if it is empty, the standard variables OTEL_EXPORTER_OTLP_TRACES_ENDPOINT and OTEL_EXPORTER_OTLP_ENDPOINT are asked, and
// without these the answer is nil. The other standard variables (headers, certificates, OTEL_TRACES_SAMPLER) hold in any case. It does not reach for the
// collector: that it does not answer is logged.
func Open(ctx context.Context, endpoint, version string, log *slog.Logger) (*Tracer, error) {
	var options []otlptracehttp.Option
	switch {
	case endpoint != "":
		options = append(options, otlptracehttp.WithEndpointURL(endpoint))
	case os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" && os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "":
		return nil, nil
	}
	exporter, err := otlptracehttp.New(ctx, options...)
	if err != nil {
		return nil, err
	}
	// The library tells of failures to one handler of the process.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces", "err", err) }))
	service, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "commitgate"), attribute.String("service.version", version)),
		resource.WithHost(), resource.WithFromEnv())
	if err != nil {
		return nil, err
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(service))
	return &Tracer{provider, provider.Tracer("github.com/commitgate/commitgate")}, nil
}

// Close sends what is left, as long as the context lets it.
func (t *Tracer) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}

// Remote continues the trace that a caller began (W3C Trace Context, as the API server sends it with APIServerTracing).
func (t *Tracer) Remote(ctx context.Context, h http.Header) context.Context {
	if t == nil {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(h))
}

// Start begins a span within that of the context. Whoever calls it must End it.
func (t *Tracer) Start(ctx context.Context, name string) (context.Context, *Span) {
	if t == nil {
		return ctx, nil
	}
	ctx, span := t.tracer.Start(ctx, name)
	return ctx, &Span{span}
}

// Span is a piece of work. All that can be done with a nil Span is nothing.
type Span struct{ span oteltrace.Span }

// Set adds a name to what the span tells. An empty value is left out.
func (s *Span) Set(key, value string) {
	if s != nil && value != "" {
		s.span.SetAttributes(attribute.String(key, value))
	}
}

// Count adds a number.
func (s *Span) Count(key string, n int) {
	if s != nil {
		s.span.SetAttributes(attribute.Int(key, n))
	}
}

// End ends it; with an error it failed. The error's own text stays here: it may quote what the span must not tell.
func (s *Span) End(err error) {
	if s == nil {
		return
	}
	if err != nil {
		s.span.SetStatus(codes.Error, "failed; the log says why")
	}
	s.span.End()
}
