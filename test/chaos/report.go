package chaos

import (
	"fmt"
	"strings"
)

// document is docs/reliability.md, with the rows of its table.
func document(rows []string) string {
	return `# Reliability

What happens to an installation of three replicas in front of a real API server, while everybody works. ` + "`make reliability`" + ` installs the chart, lets the events below happen
one after the other, and writes this page; ` + "`make test`" + ` does the same in a short form. What is broken is real: processes get signals, sockets close, wall clocks jump.

At work, all the time: Bob pushes a signed commit every second, Flux applies what the branch says, the controllers roll out each new image. Carol, who may do everything by RBAC,
and somebody with Flux's own stolen token try to write what nobody signed. So the verdict of each request is known before it is made. The witness is the API server's own audit log:
*wrong* is each request that was judged or answered otherwise (in mode Audit, Carol's pass and are judged as refused), and each change that was made without the
gate being asked while it was registered. Afterwards the three audit logs are verified, each cosigned by the two other replicas; exported as one; and joined with the API server's.

- *without a verdict*: the request was refused because no replica answered (` + "`failurePolicy: Fail`" + `); the client tries again.
- *not yet*: answered 429; client-go asks again by itself. A commit that a replica has not seen yet is fetched on demand; with the Git host away, what no verified commit declares may be in a newer one.
- The webhook's configuration is repaired by the gate itself (` + "`" + `registration.repair: webhook` + "`" + `). What passes until then is no decision: each such change must be found afterwards, as one without a record.
- A connection stays with its replica, as through a Service: what a killed replica had accepted, and what is sent to it until its endpoint is gone, is refused.

| event | what happens | asked | allowed | refused | not yet | without a verdict | why | wrong |
|---|---|--:|--:|--:|--:|--:|---|--:|
` + strings.Join(rows, "\n") + "\n"
}

// row is one event in the table.
func (p *phase) row(does string) string {
	t := &p.tally
	return fmt.Sprintf("%s%d | %d | %d | %d | %d | %s | %d |", rowHead(p.name, does), t.asked, t.allowed, t.denied, t.notYet, t.failed(), t.why(), len(t.wrong))
}

// rowHead is the part of a row that does not depend on a run.
func rowHead(name, does string) string { return fmt.Sprintf("| %s | %s | ", name, does) }
