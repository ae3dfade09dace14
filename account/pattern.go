package account

// Pattern matches field paths: a path as Field.Path writes it, with [*] for any item or key, and ** at the end for everything below.
type Pattern string

// Match tells whether the pattern covers a path.
func (p Pattern) Match(path string) bool { panic("being written") }
