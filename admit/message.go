package admit

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/snapshot"
)

// what says what the request does, as a sentence goes on after "may not": "update Deployment shop/cart".
func (j *judgement) what() string {
	verb := strings.ToLower(string(j.r.Operation))
	object := j.key.String()
	switch {
	case j.r.Operation == Connect && j.r.Subresource == "portforward":
		return "forward a port of " + object
	case j.r.Operation == Connect && j.r.Subresource == "exec":
		return "exec into " + object
	case j.r.Operation == Connect && j.r.Subresource == "attach":
		return "attach to " + object
	case j.r.Operation == Connect:
		return "connect to " + j.r.Subresource + " of " + object
	case j.r.Subresource == "scale":
		return "scale " + object
	case j.r.Subresource == "eviction":
		return "evict " + object
	case j.r.Subresource == "token":
		return "make a token for " + object
	case j.r.Subresource != "":
		return verb + " " + j.r.Subresource + " of " + object
	}
	return verb + " " + object
}

// place says where in Git a declared object stands: apps/shop/cart.yaml @ 3f2c1d9 (shop main).
func place(e *snapshot.Entry) string {
	at := string(e.Source.Path)
	if e.Source.Line > 1 {
		at = fmt.Sprintf("%s:%d", at, e.Source.Line)
	}
	if e.Changed != nil {
		at += " @ " + e.Changed.ID.Short()
	}
	if e.Revision != nil {
		at += fmt.Sprintf(" (%s %s)", e.Revision.Repository, e.Revision.Branch)
	}
	return at
}

// shownWhy is how many bytes of why a commit is not believed stands in a message; the gate's status has the whole.
const shownWhy = 160

// unbelieved says of a branch that it is ahead of what is believed: what the agent applies may be what it found there.
func (j *judgement) unbelieved(e *snapshot.Entry) string {
	if j.Truth.Current == nil || e.Revision == nil {
		return ""
	}
	r := j.Truth.Current.Revisions[e.Revision.Repository]
	if r == nil || r.Unbelieved == nil {
		return ""
	}
	why := strings.Map(func(c rune) rune { // it may hold what a stranger wrote into a commit
		if !unicode.IsPrint(c) {
			return -1
		}
		return c
	}, r.Unbelieved.Why)
	if len(why) > shownWhy {
		why = strings.ToValidUTF8(why[:shownWhy], "")
		why = why[:max(0, strings.LastIndexByte(why, ' '))] + " …"
	} else {
		why = strings.TrimSuffix(why, ".") + "."
	}
	return fmt.Sprintf(" %s is at %s, which is not believed: %s", r.Branch, r.Unbelieved.Commit.Short(), why)
}

// heads says which revisions were looked at: " (shop main @ 3f2c1d9)".
func (j *judgement) heads() string {
	if j.Truth.Current == nil || len(j.Truth.Current.Revisions) == 0 {
		return ""
	}
	var heads []string
	for _, r := range j.Truth.Current.Revisions {
		if r.Commit != nil {
			heads = append(heads, fmt.Sprintf("%s %s @ %s", r.Repository, r.Branch, r.Commit.ID.Short()))
		}
	}
	if len(heads) == 0 {
		return ""
	}
	slices.Sort(heads)
	return " (" + strings.Join(heads, ", ") + ")"
}

// shownFields is how many field paths a message names: the record holds them all.
const shownFields = 3

// namedFields says which fields have no reason, and which are missing.
func namedFields(r account.Result) string {
	var parts []string
	if s := someOf(r.Unexplained); s != "" {
		be := "is"
		if len(r.Unexplained) > 1 {
			be = "are"
		}
		parts = append(parts, s+" "+be+" not what Git says")
	}
	var missing []string
	for _, f := range r.Missing {
		if !slices.Contains(r.Unexplained, f) {
			missing = append(missing, f)
		}
	}
	if s := someOf(missing); s != "" {
		parts = append(parts, s+" is declared and missing")
	}
	return strings.Join(parts, "; ")
}

func someOf(fields []string) string {
	if len(fields) == 0 {
		return ""
	}
	shown := fields[:min(len(fields), shownFields)]
	s := strings.Join(shown, ", ")
	if more := len(fields) - len(shown); more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s
}

// maxWarning is what the API server shows of one warning before people stop reading; it cuts at 256.
const maxWarning = 120

// warnings turns a refusal into warnings of at most 120 characters each.
func warnings(message string) []string {
	var out []string
	for line := range strings.SplitSeq(message, "\n") {
		for len([]rune(line)) > maxWarning {
			cut := string([]rune(line)[:maxWarning])
			if i := strings.LastIndexByte(cut, ' '); i > 0 {
				cut = cut[:i]
			}
			out = append(out, cut)
			line = strings.TrimLeft(line[len(cut):], " ")
		}
		if line != "" {
			out = append(out, line)
		}
	}
	return out
}
