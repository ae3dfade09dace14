package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
)

// progressBar shows on a terminal how far something long is, and erases itself.
type progressBar struct {
	w     io.Writer
	mu    sync.Mutex // guards what follows
	shown int        // in percent; -1 before anything was shown
}

// newProgressBar shows nothing where nobody looks: if w is no terminal.
func newProgressBar(w io.Writer) *progressBar {
	if f, ok := w.(*os.File); ok {
		if st, err := f.Stat(); err == nil && st.Mode()&os.ModeCharDevice != 0 {
			return &progressBar{w: w, shown: -1}
		}
	}
	return &progressBar{shown: -1}
}

// progress is what is told of each step; nil if nobody looks.
func (b *progressBar) progress() func(done, total int) {
	if b.w == nil {
		return nil
	}
	return func(done, total int) {
		const worthIt, width = 1000, 40
		if total < worthIt {
			return
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if percent := done * 100 / total; percent > b.shown {
			b.shown = percent
			full := percent * width / 100
			fmt.Fprintf(b.w, "\r[%s%s] %d of %d commits", strings.Repeat("#", full), strings.Repeat(" ", width-full), done, total)
		}
	}
}

// end erases the bar.
func (b *progressBar) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.w != nil && b.shown >= 0 {
		fmt.Fprintf(b.w, "\r%s\r", strings.Repeat(" ", 79))
	}
}
