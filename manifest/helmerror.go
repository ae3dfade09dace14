package manifest

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	chart "helm.sh/helm/v4/pkg/chart/v2"

	"github.com/commitgate/commitgate/git"
)

// templateError is what may be told of an error of Helm's engine. Its text may quote any value that a template was given (fail, tpl, atoi …), a
// password among them, and a problem ends in logs, in status and in records. So only this is taken from it: where it happened, the
// expression and the message as far as they stand word for word in the chart's templates, and what text/template says of types.
func (h *helmChart) templateError(dir git.Path, c *chart.Chart, err error) error {
	sources := map[string]string{}
	gatherTemplates(c, sources)
	literal := func(text string) bool {
		for _, source := range sources {
			if strings.Contains(source, text) {
				return true
			}
		}
		return false
	}
	failed := &refusedFile{path: join(dir, "Chart.yaml")}
	var said []string
	say := func(what string) {
		if !slices.Contains(said, what) {
			said = append(said, what)
		}
	}
	outer := false
	parts := errorParts()
	for _, m := range parts.FindAllStringSubmatch(err.Error(), -1) {
		part := func(name string) string { return m[parts.SubexpIndex(name)] }
		switch name := part("file"); {
		case name != "" && sources[name] == "": // something else that looks like a place
		case name != "":
			line, _ := strconv.Atoi(part("line"))
			if p := h.locate(dir, name); !outer {
				failed.path, failed.line, outer = p, line, true
			} else if p != failed.path || line != failed.line {
				say(fmt.Sprintf("%s:%d", p, line))
			}
		case part("at") != "" && literal(part("at")):
			say(part("at"))
		case part("calling") != "" && literal(part("calling")):
			say("calling " + part("calling"))
		case part("types") != "":
			say(part("types"))
		}
	}
	text := err.Error()
	if message, ok := strings.CutPrefix(text, "execution error at ("); ok {
		_, message, _ = strings.Cut(message, "): ")
		if message != "" && (literal(strconv.Quote(message)) || literal("`"+message+"`")) {
			say(message)
		} else {
			say("the template refuses, with a message that may hold values and is left out here")
		}
	} else if message, ok := strings.CutPrefix(text, "parse error at ("); ok {
		_, message, _ = strings.Cut(message, "): ")
		say(message) // of the template alone
	}
	if len(said) == 0 {
		say("the template cannot be rendered, and Helm's message may hold values, so that it is left out here")
	}
	failed.err = errors.New(boundText(strings.Join(said, ": ")))
	return failed
}

// gatherTemplates are the texts of the templates, by the names that Helm gives them.
func gatherTemplates(c *chart.Chart, into map[string]string) {
	for _, f := range c.Templates {
		into[path.Join(c.ChartFullPath(), f.Name)] = string(f.Data)
	}
	for _, d := range c.Dependencies() {
		gatherTemplates(d, into)
	}
}

// errorParts finds, in an error of text/template or of Helm's engine, what templateError looks at. types are messages that tell of types and of
// names in the template, never of values, and those of our own bounds.
func errorParts() *regexp.Regexp {
	return regexp.MustCompile(`(?P<file>[\w./@+-]+):(?P<line>\d+)\b|\bat <(?P<at>[^\n]*?)>:|error calling (?P<calling>\w+):|` +
		`(?P<types>nil pointer evaluating [\w.{}*\[\]/ ]+|can't evaluate field \w+ in type [\w.{}*\[\]/ ]+|wrong type for value; expected [\w.{}*\[\]/ ]+; got [\w.{}*\[\]/ ]+|` +
		`wrong number of args for \w+: want [a-z0-9 ]+ got \d+|(?:a range|ranges|repeat(?: \d+)?): ?(?:of )?more than \d+ (?:numbers|bytes)(?: together)?|` +
		`(?:a range|ranges) of more than \d+ numbers(?: together)?|rendering template has a nested reference name)`)
}

// withoutQuotes leaves out what a message quotes.
func withoutQuotes(message string) string {
	return regexp.MustCompile(`"(?:[^"\\]|\\.)*"|'[^']*'`).ReplaceAllString(message, "…")
}
