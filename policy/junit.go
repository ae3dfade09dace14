package policy

import (
	"encoding/xml"
	"fmt"
	"io"
	"time"
)

// The elements of JUnit's XML, as CI systems read it.
type (
	junitSuites struct {
		XMLName xml.Name     `xml:"testsuites"`
		Suites  []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Time     string      `xml:"time,attr"` // seconds
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		File    string        `xml:"file,attr"`
		Line    int           `xml:"line,attr,omitempty"`
		Time    string        `xml:"time,attr"`
		Failure *junitMessage `xml:"failure"`
		Error   *junitMessage `xml:"error"`
		Skipped *struct{}     `xml:"skipped"`
		Output  string        `xml:"system-out,omitempty"`
	}
	junitMessage struct {
		Message string `xml:"message,attr"`
	}
)

// WriteJUnit writes the results as JUnit XML, one testsuite for each file.
func (r TestReport) WriteJUnit(w io.Writer) error {
	var out junitSuites
	var total time.Duration
	for _, t := range r.Results { // sorted by file
		if n := len(out.Suites); n == 0 || out.Suites[n-1].Name != t.File {
			out.Suites, total = append(out.Suites, junitSuite{Name: t.File}), 0
		}
		s := &out.Suites[len(out.Suites)-1]
		c := junitCase{Name: t.Name, Class: t.File, File: t.File, Line: t.Line, Time: seconds(t.Duration), Output: t.Output}
		switch t.Outcome {
		case TestFail:
			s.Failures, c.Failure = s.Failures+1, &junitMessage{t.Msg}
		case TestError:
			s.Errors, c.Error = s.Errors+1, &junitMessage{t.Msg}
		case TestSkip:
			s.Skipped, c.Skipped = s.Skipped+1, &struct{}{}
		}
		total += t.Duration
		s.Tests, s.Time, s.Cases = s.Tests+1, seconds(total), append(s.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(out); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }
