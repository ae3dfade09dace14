package doctor

import (
	"regexp"
	"slices"
	"strings"
)

// redacted stands in the place of what was taken out.
const redacted = "REDACTED"

// bare is a copy of an object without what may hold a secret by its place: values of environment variables, annotations that repeat the whole object,
// and what of a ConfigMap is not the gate's own.
func bare(object map[string]any) map[string]any {
	out, _ := strip(object).(map[string]any)
	if meta, ok := out["metadata"].(map[string]any); ok {
		delete(meta, "managedFields")
		if annotations, ok := meta["annotations"].(map[string]any); ok {
			for name := range annotations {
				if !harmless(name) {
					annotations[name] = redacted
				}
			}
		}
	}
	if out["kind"] == "ConfigMap" {
		name, _ := object["metadata"].(map[string]any)["name"].(string)
		if !strings.HasPrefix(name, "commitgate") {
			out["data"] = redacted
		}
		delete(out, "binaryData")
	}
	return out
}

// harmless are annotations of the installation itself.
func harmless(name string) bool {
	return slices.ContainsFunc([]string{"checksum/", "meta.helm.sh/", "helm.sh/", "deployment.kubernetes.io/", "commitgate.dev/"}, func(prefix string) bool {
		return strings.HasPrefix(name, prefix)
	})
}

// strip copies a value without the values of environment variables.
func strip(v any) any {
	switch x := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(x))
		for k, e := range x {
			if env, ok := e.([]any); ok && k == "env" {
				out[k] = stripEnv(env)
				continue
			}
			out[k] = strip(e)
		}
		return out
	case []any:
		out := make([]any, len(x))
		for i, e := range x {
			out[i] = strip(e)
		}
		return out
	}
	return v
}

func stripEnv(env []any) []any {
	out := make([]any, len(env))
	for i, e := range env {
		variable, ok := strip(e).(map[string]any)
		if !ok {
			out[i] = redacted
			continue
		}
		if _, literal := variable["value"]; literal {
			variable["value"] = redacted
		}
		out[i] = variable
	}
	return out
}

// secrets are what a secret looks like wherever it stands; what the first group matches stays.
func secrets() []*regexp.Regexp {
	return []*regexp.Regexp{
		regexp.MustCompile(`([a-z][a-z0-9+.-]*://)[^/\s@"']+@`),                                                                           // user and password of a URL
		regexp.MustCompile(`(?i)((?:authorization|bearer|basic)["']?\s*[:= ]\s*(?:bearer |basic )?)[A-Za-z0-9+/=._~-]{8,}`),               // HTTP credentials
		regexp.MustCompile(`()eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*`),                                                   // JSON Web Tokens
		regexp.MustCompile(`()(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----`),                                 // keys
		regexp.MustCompile(`()\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}|AKIA[A-Z0-9]{16})\b`), // tokens of Git hosts and clouds
		regexp.MustCompile(`(?i)((?:password|passwd|passphrase|secret[_-]?access[_-]?key|client[_-]?secret|api[_-]?key|access[_-]?token)["']?\s*[:=]\s*)["']?[^\s"',}]+`),
	}
}

// redact takes out what looks like a secret.
func redact(text []byte) []byte {
	for _, r := range secrets() {
		text = r.ReplaceAll(text, []byte("${1}"+redacted))
	}
	return text
}
