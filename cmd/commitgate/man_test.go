package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every command has a page; text that begins with a dot stays text; and the same program writes the same bytes.
func TestManualPages(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	for _, dir := range []string{first, second} {
		if out, status := command(t, "man", dir); status != exitYes {
			t.Fatalf("status %d: %s", status, out)
		}
	}
	pages := 0
	for _, c := range commands(newRoot("commitgate")) {
		name := manName(c) + ".1"
		page, err := os.ReadFile(filepath.Join(first, name))
		if err != nil {
			t.Error(err)
			continue
		}
		again, err := os.ReadFile(filepath.Join(second, name))
		if err != nil || string(again) != string(page) {
			t.Errorf("%s differs (%v)", name, err)
		}
		pages++
		for line := range strings.Lines(string(page)) {
			request, _, _ := strings.Cut(strings.TrimSpace(line), " ")
			if strings.HasPrefix(line, ".") && !strings.Contains(" .TH .SH .B .TP .nf .fi ", " "+request+" ") {
				t.Errorf("%s: %q is a request of nobody", name, line)
			}
		}
	}
	if pages < 30 {
		t.Errorf("%d pages", pages)
	}
	if have := troff(".so /etc/passwd\n'x \\fB--y"); have != "\\&.so /etc/passwd\n\\&'x \\efB\\-\\-y" {
		t.Errorf("escaped: %s", have)
	}
}

// The shells that people use complete the commands, by cobra's own means.
func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if out, status := command(t, "completion", shell); status != exitYes || !strings.Contains(out, "commitgate") {
			t.Errorf("%s: status %d", shell, status)
		}
	}
	if out, status := command(t, "__complete", "doc"); status != exitYes || !strings.Contains(out, "doctor") {
		t.Errorf("status %d: %s", status, out)
	}
}
