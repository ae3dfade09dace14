package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/commitgate/commitgate/test/sopstool"
)

// TestEncryptedScenarios plays scripts with the real sops: `encrypt FILE [ARGUMENT...]` encrypts a file in its place, and $KEYS is the folder with the key.
func TestEncryptedScenarios(t *testing.T) {
	s := sopstool.New(t)
	cmds := words()
	cmds["encrypt"] = func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) == 0 {
			ts.Fatalf("usage: encrypt FILE [ARGUMENT...]")
		}
		text := s.Encrypt(t, filepath.Base(args[0]), ts.ReadFile(args[0]), append(args[1:], "--age", s.Age)...)
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
	}
	setup := func(env *testscript.Env) error {
		env.Setenv("KEYS", s.Keys)
		return newWorld(env)
	}
	testscript.Run(t, testscript.Params{Dir: "testdata/sops", Setup: setup, Cmds: cmds, RequireExplicitExec: true, RequireUniqueNames: true})
}
