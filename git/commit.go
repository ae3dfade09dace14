package git

// Commit is a parsed commit object.
type Commit struct {
	ID        ID
	Tree      ID
	Parents   []ID
	Author    Person
	Committer Person
	Message   string

	// Payload is what a signature covers: the object without its signature headers, byte for byte.
	Payload []byte
	// Signature is the armoured signature, nil if the commit has none.
	Signature []byte
}
