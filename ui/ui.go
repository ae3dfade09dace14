// Package ui is the read-only web view of one gate: how its repositories stand, what changed and who was refused, where each declared
// object comes from, and what the last scan found.
//
// It shows what the audit log, the truth and the scan say, and nothing else: no field values, no bodies. It has no forms that change
// anything, no scripts, and no log-in of its own: it is meant to listen on the loopback address, where `kubectl port-forward` reaches it,
// so that whoever may forward ports to the gate's pods may look. Names in it are other people's words, attackers' among them: html/template
// escapes them, and the pages forbid themselves scripts and everything from elsewhere.
package ui

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/breakglass"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/scan"
	"github.com/commitgate/commitgate/snapshot"
	"github.com/commitgate/commitgate/track"
)

//go:embed pages
var pages embed.FS

// Sources are where the pages come from. All but the first four may be nil.
type Sources struct {
	Gate         func() *v1alpha1.Gate // as it is now
	Repositories func() []track.Status
	Truth        func() *snapshot.Truth
	// AuditLog is the folder of this replica's audit log.
	AuditLog string
	Grants   func(now time.Time) []breakglass.Standing // nil: the configuration has no break-glass
	Scan     func() *scan.Result                       // nil: this replica does not scan
	// Hosts are names by which the pages may be asked for beside localhost and loopback addresses. A page under another name is refused: a
	// foreign site could have pointed its own name here (DNS rebinding).
	Hosts []string
	Log   *slog.Logger
	Now   func() time.Time
}

type view struct {
	Sources
	pages map[string]*template.Template
	// reading lets one page at a time read the log: looking must not cost those who are waiting for a decision.
	reading chan struct{}
}

// New is the handler of all pages.
func New(s Sources) (http.Handler, error) {
	v := &view{Sources: s, pages: map[string]*template.Template{}, reading: make(chan struct{}, 1)}
	for _, name := range []string{"overview", "changes", "record", "objects", "object", "scan", "exceptions", "problem"} {
		t, err := template.New("layout.html").Funcs(functions).ParseFS(pages, "pages/layout.html", "pages/"+name+".html")
		if err != nil {
			return nil, err
		}
		v.pages[name] = t
	}
	assets, err := fs.Sub(pages, "pages")
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", v.overview)
	mux.HandleFunc("GET /changes", v.changes)
	mux.HandleFunc("GET /changes/{seq}", v.record)
	mux.HandleFunc("GET /objects", v.objects)
	mux.HandleFunc("GET /object", v.object)
	mux.HandleFunc("GET /scan", v.scanned)
	mux.HandleFunc("GET /exceptions", v.exceptions)
	mux.Handle("GET /style.css", http.FileServerFS(assets))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		v.problem(w, http.StatusNotFound, "There is no such page.")
	})
	return v.guard(mux), nil
}

// guard refuses what no reader of these pages sends, and tells browsers to do no more than show them.
func (v *view) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		switch {
		case !v.ours(r.Host):
			http.Error(w, "this view is not served under that name", http.StatusMisdirectedRequest)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "this view is read-only", http.StatusMethodNotAllowed)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// ours tells whether a Host header names this view.
func (v *view) ours(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.Trim(host, "[]")
	}
	if ip := net.ParseIP(name); ip != nil && ip.IsLoopback() || strings.EqualFold(name, "localhost") {
		return true
	}
	for _, h := range v.Hosts {
		if strings.EqualFold(h, name) {
			return true
		}
	}
	return false
}

// show answers with a page. It is made whole before the first byte leaves: a page that cannot be made is an error, never half a page.
func (v *view) show(w http.ResponseWriter, code int, name, title string, data any) {
	var b bytes.Buffer
	err := v.pages[name].ExecuteTemplate(&b, "layout.html", map[string]any{
		"Page": name, "Title": title, "Gate": v.Gate().Name, "Cluster": v.Gate().Spec.Cluster, "Mode": v.mode(), "Now": v.Now(), "Data": data,
	})
	if err != nil {
		v.Log.Error("a page of the web view cannot be made", "page", name, "err", err)
		http.Error(w, "the page cannot be made; the gate's log says why", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	_, _ = b.WriteTo(w) // a reader who has left
}

func (v *view) problem(w http.ResponseWriter, code int, what string) {
	v.show(w, code, "problem", http.StatusText(code), what)
}

func (v *view) mode() v1alpha1.Mode {
	if v.Gate().Spec.Mode == "" {
		return v1alpha1.ModeEnforce
	}
	return v.Gate().Spec.Mode
}

// functions are what the pages can do beside showing.
var functions = template.FuncMap{
	"clean": clean,
	"short": git.ID.Short,
	"stamp": func(t time.Time) string {
		if t.IsZero() {
			return "never"
		}
		return t.UTC().Format("2006-01-02 15:04:05 UTC")
	},
	"ago": ago,
	"subject": func(message string) string {
		line, _, _ := strings.Cut(strings.TrimSpace(message), "\n")
		return clean(line)
	},
	"join":  strings.Join,
	"table": func(of string, rows []scan.Coverage) map[string]any { return map[string]any{"Of": of, "Rows": rows} },
	"link":  objectLink,
	"user":  user,
	"query": func(k, value string) string { return url.Values{k: {value}}.Encode() },
	"percent": func(f float64) string {
		if f < 100 && f > 99.9 {
			f = 99.9 // "100 %" is said of everything only
		}
		return strings.TrimSuffix(fmt.Sprintf("%.1f", f), ".0") + " %"
	},
}

// user shortens the names of service accounts, which are long and alike: "controller (namespace)".
func user(name string) string {
	if account, ok := strings.CutPrefix(name, "system:serviceaccount:"); ok {
		if namespace, account, ok := strings.Cut(account, ":"); ok {
			name = account + " (" + namespace + ")"
		}
	}
	return clean(name)
}

// ago is how long before now t was, roughly, for people.
func ago(now, t time.Time) string {
	d := now.Sub(t)
	switch {
	case t.IsZero():
		return "never"
	case d < 0:
		return "in " + roughly(-d)
	case d < 2*time.Second:
		return "now"
	}
	return roughly(d) + " ago"
}

func roughly(d time.Duration) string {
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}} {
		if d >= 2*unit.of {
			return fmt.Sprintf("%d %s", d/unit.of, unit.name)
		}
	}
	return fmt.Sprintf("%d s", d/time.Second)
}

// clean replaces what does not print, direction marks included: a name must not change how the line around it reads.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) && r != '\n' {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
