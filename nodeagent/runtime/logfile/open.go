package logfile

import (
	"path/filepath"
	"sync"
)

// open knows the writers of this process, so that a follower is woken by the write itself. Readers of files that
// another process writes look again now and then.
var open = writers{byPath: map[string]*Writer{}}

type writers struct {
	mu     sync.Mutex
	byPath map[string]*Writer
}

func (o *writers) add(w *Writer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.byPath[w.path] = w
}

func (o *writers) drop(w *Writer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.byPath[w.path] == w {
		delete(o.byPath, w.path)
	}
}

// changes returns a channel that is closed when the log at path grows, or nil if this process does not write it.
func (o *writers) changes(path string) <-chan struct{} {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil // no working directory: then it was not opened here either
	}
	o.mu.Lock()
	w := o.byPath[abs]
	o.mu.Unlock()
	if w == nil {
		return nil
	}
	return w.changes()
}
