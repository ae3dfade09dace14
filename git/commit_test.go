package git

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	testID  = ID("1111111111111111111111111111111111111111")
	headers = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nparent 2222222222222222222222222222222222222222\n" +
		"author Ada Lovelace <ada@example.org> 1700000000 +0130\ncommitter Bob <bob@example.org> 1700000001 -0200\n"
	signature = "gpgsig -----BEGIN SSH SIGNATURE-----\n U1NIU0lH\n -----END SSH SIGNATURE-----\n"
)

func TestParseCommit(t *testing.T) {
	raw := headers + signature + "encoding UTF-8\n\nsubject\n\nbody"
	c, err := ParseCommit(testID, []byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	if want := headers + "encoding UTF-8\n\nsubject\n\nbody"; string(c.Payload) != want {
		t.Errorf("payload %q\nwant %q", c.Payload, want)
	}
	if want := "-----BEGIN SSH SIGNATURE-----\nU1NIU0lH\n-----END SSH SIGNATURE-----\n"; string(c.Signature) != want {
		t.Errorf("signature %q", c.Signature)
	}
	if c.ID != testID || c.Tree != "4b825dc642cb6eb9a060e54bf8d69288fbee4904" || len(c.Parents) != 1 || c.Message != "subject\n\nbody" {
		t.Errorf("commit %+v", c)
	}
	if a := c.Author; a.Name != "Ada Lovelace" || a.Email != "ada@example.org" || a.When.Format(time.RFC3339) != "2023-11-14T23:43:20+01:30" {
		t.Errorf("author %+v", a)
	}
}

func TestParseCommitRefuses(t *testing.T) {
	tests := map[string]struct{ raw, want string }{
		"two signatures":                          {headers + signature + signature + "\n", "two gpgsig headers"},
		"a signature before the author":           {strings.Replace(headers, "author", signature+"author", 1) + "\n", "before the committer"},
		"a signature header that nobody knows":    {headers + "gpgsig-sha3 x\n\n", "not a signature that is known"},
		"a NUL among the headers":                 {headers + "x \x00\n\n", "NUL"},
		"no committer":                            {strings.Join(strings.SplitAfter(headers, "\n")[:3], "") + "\n", "lacks"},
		"two trees":                               {headers + "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n\n", "stands where it must not"},
		"a parent after the author":               {headers + "parent 2222222222222222222222222222222222222222\n\n", "stands where it must not"},
		"an abbreviated tree":                     {"tree 4b825dc\n" + headers[46:] + "\n", "want 40 or 64"},
		"a parent of the other object format":     {strings.Replace(headers, "parent ", "parent 111111111111111111111111", 1) + "\n", "another object format"},
		"headers without an end":                  {"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904", "do not end"},
		"nothing":                                 {"", "do not end"},
		"a line that is no header":                {headers + "what\n\n", "not a header"},
		"a continuation of nothing, first of all": {" x\n" + headers + "\n", "not a header"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := ParseCommit(testID, []byte(tt.raw))
			var malformed *MalformedError
			if !errors.As(err, &malformed) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one that says %q", err, tt.want)
			}
		})
	}
}

// TestParseCommitTakesTheSignatureOfItsFormat: a commit may carry a signature for each object format, and neither covers the other.
func TestParseCommitTakesTheSignatureOfItsFormat(t *testing.T) {
	raw := headers + strings.Replace(signature, "gpgsig ", "gpgsig-sha256 ", 1) + "\nsubject\n"
	c, err := ParseCommit(testID, []byte(raw))
	if err != nil || c.Signature != nil || string(c.Payload) != headers+"\nsubject\n" {
		t.Errorf("%+v, %v", c, err)
	}
	long := strings.NewReplacer(strings.Repeat("2", 40), strings.Repeat("2", 64), "4b825dc642cb6eb9a060e54bf8d69288fbee4904", strings.Repeat("4", 64)).Replace(raw)
	c, err = ParseCommit(ID(strings.Repeat("1", 64)), []byte(long))
	if err != nil || c.Signature == nil {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestOpenArmourRefuses(t *testing.T) {
	const ssh = "-----BEGIN SSH SIGNATURE-----\nU1NIU0lH\n-----END SSH SIGNATURE-----\n"
	const pgp = "-----BEGIN PGP SIGNATURE-----\nVersion: 1\n\nwsBcBAAB\n=pKeP\n-----END PGP SIGNATURE-----\n"
	if _, data, err := OpenArmour([]byte(ssh)); err != nil || string(data) != "SSHSIG" {
		t.Fatalf("%q, %v", data, err)
	}
	tests := map[string]string{
		"text before":                  "x\n" + ssh,
		"text after":                   ssh + "x\n",
		"two blocks":                   ssh + ssh,
		"a block in a block":           strings.Replace(ssh, "U1NIU0lH", ssh, 1),
		"another label at its end":     strings.Replace(ssh, "END SSH", "END PGP", 1),
		"a key":                        strings.ReplaceAll(ssh, "SSH SIGNATURE", "OPENSSH PRIVATE KEY"),
		"white space where SSH is not": strings.Replace(ssh, "H\n", "H \n", 1),
		"no base64":                    strings.Replace(ssh, "U1", "!!", 1),
		"base64 with bits left over":   strings.Replace(ssh, "U1NIU0lH", "U1NIU0lHQR==", 1),
		"nothing inside":               strings.Replace(ssh, "U1NIU0lH", "", 1),
		"a wrong checksum":             pgp,
		"no empty line":                strings.Replace(pgp, "1\n\n", "1\n", 1),
		"too much":                     strings.Replace(ssh, "U1NIU0lH", strings.Repeat("U1NIU0lH", 1<<16), 1),
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			if _, _, err := OpenArmour([]byte(text)); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func FuzzParseCommit(f *testing.F) {
	f.Add([]byte(headers + signature + "\nsubject\n"))
	f.Add([]byte(headers + "mergetag object 1\n type commit\n\nm"))
	f.Add([]byte(headers))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := ParseCommit(testID, raw)
		if err != nil {
			return
		}
		tree, parents, err := Links(raw)
		if err != nil || tree != c.Tree || !slices.Equal(parents, c.Parents) {
			t.Errorf("Links finds %s %v %v, ParseCommit %s %v", tree, parents, err, c.Tree, c.Parents)
		}
		// What is signed is a commit without a signature, and says the same.
		again, err := ParseCommit(testID, c.Payload)
		if err != nil || again.Signature != nil || !bytes.Equal(again.Payload, c.Payload) || again.Tree != c.Tree || again.Message != c.Message || !again.Author.When.Equal(c.Author.When) {
			t.Errorf("the payload %q is read as %v, %v", c.Payload, again, err)
		}
	})
}

func FuzzOpenArmour(f *testing.F) {
	f.Add([]byte("-----BEGIN SSH SIGNATURE-----\nU1NIU0lH\n-----END SSH SIGNATURE-----\n"))
	f.Add([]byte("-----BEGIN PGP SIGNATURE-----\nVersion: 1\n\nwsBcBAAB\n=aaaa\n-----END PGP SIGNATURE-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		armour, data, err := OpenArmour(text)
		if err == nil && (len(data) == 0 || !bytes.HasPrefix(text, []byte("-----BEGIN "+armour))) {
			t.Errorf("%s %x", armour, data)
		}
	})
}

func FuzzParseSSHSignature(f *testing.F) {
	f.Add([]byte("SSHSIG\x00\x00\x00\x01\x00\x00\x00\x01k\x00\x00\x00\x03git\x00\x00\x00\x00\x00\x00\x00\x06sha512\x00\x00\x00\x01s"))
	f.Fuzz(func(t *testing.T, blob []byte) {
		s, err := ParseSSHSignature(blob)
		if err != nil {
			return
		}
		if n := len(sshMagic) + 4 + 5*4 + len(s.PublicKey) + len(s.Namespace) + len(s.Hash) + len(s.Signature); n != len(blob) {
			t.Errorf("%d bytes of %d read", n, len(blob))
		}
	})
}
