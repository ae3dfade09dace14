package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/commitgate/commitgate/test/lab"
	"github.com/commitgate/commitgate/test/story"
)

// screen shows the story, in colour where somebody is looking.
type screen struct {
	w    io.Writer
	live bool // a terminal, whose last line can be written again
}

func newScreen(f *os.File) *screen {
	info, err := f.Stat()
	// NO_COLOR is the common wish for plain text (no-color.org).
	return &screen{w: f, live: err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == ""}
}

// SGR parameters of ECMA-48.
const (
	bold   = "1"
	faint  = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

func (s *screen) paint(color, text string) string {
	if !s.live {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

func (s *screen) printf(format string, args ...any) { fmt.Fprintf(s.w, format, args...) }

func (s *screen) title(name, sentence string) {
	s.printf("\n  %s  %s\n\n", s.paint(bold, name), s.paint(faint, sentence))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// part tells that a part of the installation stands.
func (s *screen) part(part, what string, took time.Duration) {
	s.printf("  %s %-14s %s  %s\n", s.paint(green, "✔"), part, what, s.paint(faint, seconds(took)))
}

func (s *screen) chapter(n int, title string) {
	s.printf("\n  %s\n", s.paint(bold, fmt.Sprintf("%d. %s", n, title)))
}

// begin shows what is being done; on a terminal, end writes over it.
func (s *screen) begin(step story.Step) {
	if s.live {
		s.printf("  … %s %s", step.Who, s.paint(faint, step.Does))
	}
}

// margin is where the answers stand, below what was done.
const margin = "                "

// width is how long a line below a step may be: with the margin it fits a terminal of 120 columns.
const width = 102

// end shows how a step ended, and what was said.
func (s *screen) end(step story.Step, answer story.Answer, err error) {
	if s.live {
		s.printf("\r\x1b[K")
	}
	sign, color := "✔", green
	switch {
	case err != nil:
		sign, color = "!", yellow
	case step.Told == story.Refused || step.Told == story.Caught:
		sign, color = "✘", red
	case step.Told == story.Read:
		sign, color = "→", cyan
	}
	word := string(step.Told)
	if err != nil {
		word = "not " + word
	}
	s.printf("  %s %s %s %s\n", s.paint(color, sign), s.paint(color, fmt.Sprintf("%-11s", word)), s.paint(bold, step.Who), step.Does)
	for _, line := range answer {
		s.say(faint, line)
	}
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			s.say(yellow, strings.TrimRight(line, "\n"))
		}
	}
}

// say prints a line below a step, broken between words.
func (s *screen) say(color, text string) {
	var line string
	for _, word := range strings.SplitAfter(text, " ") {
		if utf8.RuneCountInString(line+strings.TrimRight(word, " ")) > width && line != "" {
			s.printf("%s%s\n", margin, s.paint(color, strings.TrimRight(line, " ")))
			line = "  "
		}
		line += word
	}
	s.printf("%s%s\n", margin, s.paint(color, line))
}

func (s *screen) summary(played, failed int, took time.Duration) {
	if failed == 0 {
		s.printf("\n  %s\n", s.paint(green, fmt.Sprintf("All %d steps went as told, in %s.", played, seconds(took))))
		return
	}
	s.printf("\n  %s\n", s.paint(yellow, fmt.Sprintf("%d of %d steps did not go as told.", failed, played)))
}

// invitation says how to go on by hand.
func (s *screen) invitation(bin string, l *lab.Lab, keep bool) {
	s.printf("\n  Everything is still running. Be Carol, who may do anything that RBAC knows:\n\n")
	s.printf("    export KUBECONFIG=%s\n", l.CarolConfig)
	s.printf("    %s --namespace=shop set image deployment/cart cart=nginx\n", filepath.Join(bin, "kubectl"))
	s.printf("\n  and watch, in another terminal, what the gate remembers of it:\n\n")
	s.printf("    %s audit tail --follow %s\n", filepath.Join(bin, "commitgate"), l.Gate.AuditLog())
	if l.Gate.View != "" {
		s.printf("\n  or in a browser:\n\n    http://%s\n", l.Gate.View)
	}
	end := "Ctrl-C ends all of it and removes %s."
	if keep {
		end = "Ctrl-C ends all of it; %s stays."
	}
	s.printf("\n  %s\n\n", s.paint(faint, fmt.Sprintf(end, l.Dir)))
}
