package wasm

import (
	"errors"
	"io"
	"maps"
	"slices"
	"sync"
	"time"
)

// patience is for how long a user who has attached may hold a guest back by not taking what it writes.
const patience = 5 * time.Second

// errSlow is what such a user is told.
var errSlow = errors.New("the output was not taken for 5 seconds")

// feed is one output of a guest: it goes to the log, and to those who have attached.
type feed struct {
	log io.WriteCloser

	mu      sync.Mutex // guards watches
	watches map[*watch]bool
}

// watch is one who has attached.
type watch struct {
	feed   *feed
	sink   io.Writer
	data   chan []byte
	ended  chan struct{} // closed when the sink takes no more
	broken sync.Once
	err    error // why, set before ended is closed
}

func newFeed(log io.WriteCloser) *feed { return &feed{log: log, watches: map[*watch]bool{}} }

// Write implements io.Writer. The guest's goroutine alone calls it.
func (f *feed) Write(b []byte) (int, error) {
	n, err := f.log.Write(b)
	for _, w := range f.snapshot() {
		w.give(b)
	}
	return n, err
}

// snapshot is who has attached.
func (f *feed) snapshot() []*watch {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Keys(f.watches))
}

func (w *watch) give(b []byte) {
	data := append([]byte(nil), b...)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case w.data <- data:
	case <-w.ended:
	case <-timer.C:
		w.end(errSlow)
	}
}

func (w *watch) end(err error) {
	w.broken.Do(func() {
		w.err = err
		close(w.ended)
	})
}

// watch has what the guest writes from now on kept for a sink, until follow has returned.
func (f *feed) watch(sink io.Writer) *watch {
	w := &watch{feed: f, sink: sink, data: make(chan []byte, 16), ended: make(chan struct{})}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watches[w] = true
	return w
}

// follow copies what is written until done is closed, and then what is left. It ends before if the sink fails, or stop is
// closed.
func (w *watch) follow(done, stop <-chan struct{}) error {
	defer func() {
		w.feed.mu.Lock()
		delete(w.feed.watches, w)
		w.feed.mu.Unlock()
		w.end(nil)
	}()
	for {
		select {
		case b := <-w.data:
			if _, err := w.sink.Write(b); err != nil {
				return err
			}
		case <-w.ended:
			return w.err
		case <-stop:
			return nil
		case <-done: // the guest writes no more
			return w.drain()
		}
	}
}

func (w *watch) drain() error {
	for {
		select {
		case b := <-w.data:
			if _, err := w.sink.Write(b); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// stdin is the standard input of a guest that users attach to, one after the other or several at a time.
type stdin struct {
	once   bool // it ends with the first one who gives something
	data   chan []byte
	rest   []byte // the reader's
	ended  chan struct{}
	ending sync.Once
}

func newStdin(once bool) *stdin {
	return &stdin{once: once, data: make(chan []byte), ended: make(chan struct{})}
}

// Read implements io.Reader.
func (s *stdin) Read(b []byte) (int, error) {
	if len(s.rest) == 0 {
		select {
		case s.rest = <-s.data:
		case <-s.ended:
			return 0, io.EOF
		}
	}
	n := copy(b, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// Close implements io.Closer: nothing more is read.
func (s *stdin) Close() error {
	s.ending.Do(func() { close(s.ended) })
	return nil
}

// take gives the guest what a user types, until the user's input ends or stop is closed.
func (s *stdin) take(from io.Reader, stop <-chan struct{}) {
	if s.once {
		defer s.Close() // it never fails
	}
	for {
		buf := make([]byte, 4<<10)
		n, err := from.Read(buf)
		if n > 0 {
			select {
			case s.data <- buf[:n]:
			case <-s.ended:
				return
			case <-stop:
				return
			}
		}
		if err != nil {
			return
		}
	}
}
