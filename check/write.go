package check

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// WriteTable writes the report for people: what changes, then what was found.
func (r *Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	if len(r.Changes) > 0 {
		fmt.Fprintln(t, "ACTION\tOBJECT\tPLACE\tVERDICT\tFIELDS")
	}
	for _, c := range r.Changes {
		verdict := "allowed"
		if !c.Allowed {
			verdict = "REFUSED"
		}
		fields := c.Fields
		if len(fields) > 3 {
			fields = append(slices.Clone(fields[:3]), fmt.Sprintf("and %d more", len(c.Fields)-3))
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", c.Action, c.Object, c.Place(), verdict, strings.Join(fields, ", "))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, f := range r.Findings {
		if _, err := fmt.Fprintf(w, "%s: %s\n", f.Level, f.sentence()); err != nil {
			return err
		}
	}
	verdict := "the gate would take it"
	if !r.Allowed() {
		verdict = "the gate would REFUSE it"
	}
	_, err := fmt.Fprintf(w, "%d objects change, %d findings: %s\n", len(r.Changes), len(r.Findings), verdict)
	return err
}

// sentence is the finding in one line.
func (f Finding) sentence() string {
	s := f.Message + " (" + string(f.Rule) + ")"
	if f.Object != "" {
		s = f.Object + ": " + s
	}
	if p := f.Place(); p != "" {
		s = p + ": " + s
	}
	return strings.ReplaceAll(s, "\n", " ")
}

// WriteJSON writes the report for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// The parts of SARIF 2.1.0 (OASIS) that hold findings.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool    sarifTool     `json:"tool"`
		Results []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name  string      `json:"name"`
		Rules []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID string `json:"id"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		Level     string          `json:"level"`
		Message   sarifMessage    `json:"message"`
		Locations []sarifLocation `json:"locations,omitempty"`
	}
	sarifMessage struct {
		Text string `json:"text"`
	}
	sarifLocation struct {
		PhysicalLocation sarifPhysical `json:"physicalLocation"`
	}
	sarifPhysical struct {
		ArtifactLocation sarifArtifact `json:"artifactLocation"`
		Region           *sarifRegion  `json:"region,omitempty"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine int `json:"startLine"`
	}
)

// WriteSARIF writes the findings as SARIF 2.1.0, which forges show beside the changed lines.
func (r *Report) WriteSARIF(w io.Writer) error {
	run := sarifRun{Tool: sarifTool{sarifDriver{Name: "commitgate", Rules: []sarifRule{}}}, Results: []sarifResult{}}
	for _, f := range r.Findings {
		if !slices.Contains(run.Tool.Driver.Rules, sarifRule{string(f.Rule)}) {
			run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{string(f.Rule)})
		}
		text := f.Message
		if f.Object != "" {
			text = f.Object + ": " + text
		}
		result := sarifResult{RuleID: string(f.Rule), Level: string(f.Level), Message: sarifMessage{text}}
		if f.Path != "" {
			at := sarifPhysical{ArtifactLocation: sarifArtifact{string(f.Path)}}
			if f.Line > 0 {
				at.Region = &sarifRegion{f.Line}
			}
			result.Locations = []sarifLocation{{at}}
		}
		run.Results = append(run.Results, result)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(sarifLog{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}})
}

// The parts of JUnit's XML that test reports show.
type (
	junitSuite struct {
		XMLName  xml.Name    `xml:"testsuite"`
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Name     string         `xml:"name,attr"`
		Class    string         `xml:"classname,attr"`
		File     string         `xml:"file,attr,omitempty"`
		Failures []junitFailure `xml:"failure"`
		Out      string         `xml:"system-out,omitempty"`
	}
	junitFailure struct {
		Type    string `xml:"type,attr"`
		Message string `xml:"message,attr"`
	}
)

// WriteJUnit writes a test case for each object that changes, and for each finding that concerns none of them.
func (r *Report) WriteJUnit(w io.Writer) error {
	suite := junitSuite{Name: "commitgate check"}
	used := make([]bool, len(r.Findings))
	for _, c := range r.Changes {
		one := junitCase{Name: string(c.Action) + " " + c.Object, Class: "commitgate." + c.Agent, File: string(c.Path)}
		for i, f := range r.Findings {
			if f.Object == c.Object {
				used[i] = true
				one.add(f)
			}
		}
		suite.Cases = append(suite.Cases, one)
	}
	for i, f := range r.Findings {
		if !used[i] {
			one := junitCase{Name: string(f.Rule) + " " + f.Place(), Class: "commitgate", File: string(f.Path)}
			one.add(f)
			suite.Cases = append(suite.Cases, one)
		}
	}
	suite.Tests = len(suite.Cases)
	for _, c := range suite.Cases {
		if len(c.Failures) > 0 {
			suite.Failures++
		}
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(suite); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func (c *junitCase) add(f Finding) {
	if f.Level == Error {
		c.Failures = append(c.Failures, junitFailure{Type: string(f.Rule), Message: f.sentence()})
		return
	}
	c.Out += string(f.Level) + ": " + f.sentence() + "\n"
}
