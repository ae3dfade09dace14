package doctor

import "fmt"

// State is how something was found.
type State string

// The states. Nothing but OK is well; a zero State is none of them.
const (
	OK      State = "ok"
	Warning State = "warning" // it works, and somebody should look
	Broken  State = "broken"
	Unknown State = "unknown" // it could not be told
)

// Finding is the answer to one question.
type Finding struct {
	Check string `json:"check"`
	State State  `json:"state"`
	// What was found, and Do what to do about it, in a sentence each; Do is "" if there is nothing to do.
	What string `json:"what"`
	Do   string `json:"do,omitempty"`
}

// findings collects the answers to one question: several, where several things are wrong.
type findings struct {
	check string
	list  []Finding
}

func (f *findings) ok(format string, args ...any) {
	f.list = append(f.list, Finding{Check: f.check, State: OK, What: fmt.Sprintf(format, args...)})
}

func (f *findings) warn(do, format string, args ...any) {
	f.list = append(f.list, Finding{Check: f.check, State: Warning, What: fmt.Sprintf(format, args...), Do: do})
}

func (f *findings) broken(do, format string, args ...any) {
	f.list = append(f.list, Finding{Check: f.check, State: Broken, What: fmt.Sprintf(format, args...), Do: do})
}

func (f *findings) unknown(do, format string, args ...any) {
	f.list = append(f.list, Finding{Check: f.check, State: Unknown, What: fmt.Sprintf(format, args...), Do: do})
}

// Worst is the state of all findings together: Broken before Unknown before Warning before OK.
func Worst(list []Finding) State {
	rank := map[State]int{OK: 0, Warning: 1, Unknown: 2, Broken: 3}
	worst := OK
	for _, f := range list {
		if rank[f.State] > rank[worst] {
			worst = f.State
		}
	}
	return worst
}
