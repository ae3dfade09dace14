package git

import "strings"

// Trailers are the "Key: value" lines of a message's last paragraph, as git-interpret-trailers finds them, by lower-case key. A message of one
// paragraph has a subject and no trailers.
func Trailers(message string) map[string][]string {
	out := map[string][]string{}
	message = strings.TrimRight(strings.ReplaceAll(message, "\r\n", "\n"), "\n \t")
	i := strings.LastIndex(message, "\n\n")
	if i < 0 {
		return out
	}
	key := ""
	for line := range strings.SplitSeq(message[i+2:], "\n") {
		if key != "" && (strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t")) { // folded
			values := out[key]
			values[len(values)-1] += " " + strings.TrimSpace(line)
			continue
		}
		k, v, ok := strings.Cut(line, ":")
		if k = strings.TrimRight(k, " \t"); !ok || !isToken(k) {
			key = ""
			continue
		}
		key = strings.ToLower(k)
		out[key] = append(out[key], strings.TrimSpace(v))
	}
	return out
}

func isToken(s string) bool {
	for _, c := range s {
		if c != '-' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return s != ""
}
