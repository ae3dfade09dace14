// Package agents holds the tests with the sync agents themselves: their programs, built from their own modules, apply what a real Git
// host serves to a real API server that the gate guards. What package syncagent plays, made small, these do. The package has no code of its own.
package agents
