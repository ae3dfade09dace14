// Package chaos breaks a whole installation in every way that its operator must live through, while everybody works: three replicas as the chart
// installs them, behind one address, in front of a real API server. What each request may become is known beforehand, and the API server's own audit
// log is the witness. TestReliability makes the table of docs/reliability.md.
package chaos
