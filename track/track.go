// Package track is the loop from a push to the truth: fetch, verify, render, compile, publish. It is the only writer of snapshots.
package track
