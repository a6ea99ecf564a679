package wasip1

import (
	"io"
	"sync"
)

const (
	// minReadAhead and maxReadAhead bound what is read before the guest asks: it grows while the source fills it.
	minReadAhead = 4 << 10
	maxReadAhead = 64 << 10
	// minWriteBehind and maxWriteBehind bound what the guest wrote and the sink has not taken: the bound grows while the
	// guest fills it.
	minWriteBehind = 8 << 10
	maxWriteBehind = 64 << 10
	// streamSize is what a connection takes from the beginning, with its goroutines.
	streamSize = minReadAhead + 2*minWriteBehind + 12<<10
)

// readAhead holds one buffer of what a source delivers.
//
// Either data is empty and run is reading, or data is not and run waits for the guest to use it up, or err is set
// and run has ended.
type readAhead struct {
	notify  func()
	holding holding
	wanted  chan struct{} // data was used up; one slot
	stopped chan struct{}

	mu   sync.Mutex
	data []byte
	err  error // after data; io.EOF is the end
	done bool  // stopped is closed
}

func (r *readAhead) init(s *System) {
	r.holding.sys = s
	r.notify, r.wanted, r.stopped = s.changed.notify, make(chan struct{}, 1), make(chan struct{})
}

// run reads until the source fails. Whoever stops it also closes the source.
func (r *readAhead) run(source io.Reader) {
	buf := make([]byte, minReadAhead)
	for {
		n, err := source.Read(buf)
		if n == 0 && err == nil {
			continue
		}
		r.put(buf[:n], err)
		if err != nil {
			return
		}
		select {
		case <-r.wanted:
		case <-r.stopped:
			return
		}
		if n == len(buf) && n < maxReadAhead && r.holding.more(int64(n)) {
			buf = make([]byte, 2*n)
		}
	}
}

func (r *readAhead) put(data []byte, err error) {
	r.mu.Lock()
	if r.err == nil {
		r.data, r.err = data, err
	}
	r.mu.Unlock()
	r.notify()
}

// fail makes reads fail once the data is used up.
func (r *readAhead) fail(err error) {
	r.mu.Lock()
	if r.err == nil {
		r.err = err
	}
	r.mu.Unlock()
	r.notify()
}

func (r *readAhead) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.done {
		r.done = true
		r.holding.end()
		close(r.stopped)
	}
}

// read copies what there is; with peek it stays there.
func (r *readAhead) read(bufs [][]byte, peek bool) (int, errno) {
	if len(bufs) == 0 {
		return 0, success
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.data) == 0 {
		return 0, r.failure()
	}
	total, rest := 0, r.data
	for _, b := range bufs {
		n := copy(b, rest)
		total, rest = total+n, rest[n:]
	}
	if peek {
		return total, success
	}
	r.data = rest
	if len(rest) == 0 && r.err == nil {
		r.wanted <- struct{}{}
	}
	return total, success
}

func (r *readAhead) failure() errno {
	switch r.err {
	case nil:
		return eagain
	case io.EOF:
		return success
	}
	return errnoOf(r.err)
}

func (r *readAhead) readable() readiness {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.data)
	return readiness{ready: n > 0 || r.err != nil, bytes: uint64(n), hangup: n == 0 && r.err != nil}
}

// writeBehind holds what a guest wrote until its sink has taken it.
//
// Invariant: len(pending)+inFlight <= bound; a goroutine flushes iff flushing.
type writeBehind struct {
	notify  func()
	holding holding

	mu       sync.Mutex
	pending  []byte
	inFlight int
	bound    int // 0: minWriteBehind
	flushing bool
	starved  bool // someone waits for room
	shut     bool // no more writes
	err      error
}

// write takes what fits. The caller starts flush when told to.
func (w *writeBehind) write(bufs [][]byte) (n int, e errno, flush bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil || w.shut {
		return 0, epipe, false
	}
	room := w.room()
	if room == 0 && w.grow() {
		room = w.room()
	}
	if room == 0 && len(bufs) > 0 {
		w.starved = true
		return 0, eagain, false
	}
	for _, b := range bufs {
		b = b[:min(len(b), room)]
		w.pending = append(w.pending, b...)
		n, room = n+len(b), room-len(b)
	}
	flush = n > 0 && !w.flushing
	w.flushing = w.flushing || flush
	return n, success, flush
}

// room is how much more may be written, grow makes more of it. The lock is held.
func (w *writeBehind) room() int { return max(w.bound, minWriteBehind) - len(w.pending) - w.inFlight }

func (w *writeBehind) grow() bool {
	bound := max(w.bound, minWriteBehind)
	if bound >= maxWriteBehind || !w.holding.more(2*int64(bound)) { // what is pending, and what is in flight
		return false
	}
	w.bound = 2 * bound
	return true
}

// flush writes until nothing is pending, then calls drained if there will be no more.
func (w *writeBehind) flush(sink io.Writer, drained func()) {
	var spare []byte
	for {
		chunk, last := w.take(spare)
		if chunk == nil {
			if last {
				drained()
			}
			return
		}
		_, err := sink.Write(chunk)
		spare = chunk[:0]
		w.taken(err)
	}
}

// take gives out what is pending and leaves spare in its place; with nothing pending flushing ends.
func (w *writeBehind) take(spare []byte) (chunk []byte, last bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.pending) == 0 {
		w.flushing = false
		w.pending = nil
		return nil, w.shut
	}
	chunk, w.pending = w.pending, spare
	w.inFlight = len(chunk)
	return chunk, false
}

func (w *writeBehind) taken(err error) {
	w.mu.Lock()
	w.inFlight = 0
	if err != nil {
		w.err, w.pending = err, nil
	}
	wake := w.starved
	w.starved = false
	w.mu.Unlock()
	if wake {
		w.notify()
	}
}

// shutdown ends writing. It says whether a flush is going on, which will then call drained.
func (w *writeBehind) shutdown() (flushing bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shut = true
	w.holding.end()
	return w.flushing
}

func (w *writeBehind) writable() readiness {
	w.mu.Lock()
	defer w.mu.Unlock()
	room := w.room()
	if room == 0 && w.grow() {
		room = w.room()
	}
	failed := w.err != nil || w.shut
	w.starved = w.starved || room == 0
	return readiness{ready: room > 0 || failed, bytes: uint64(room), hangup: failed}
}

// holding is memory that an object came to take of the guest's, beyond what it has from the beginning.
type holding struct {
	sys   *System
	mu    sync.Mutex
	bytes int64
	ended bool
}

// more takes more bytes, or says that there are none.
func (h *holding) more(bytes int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended || !h.sys.hold(bytes) {
		return false
	}
	h.bytes += bytes
	return true
}

// end gives all back; there will be no more.
func (h *holding) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sys.release(h.bytes)
	h.bytes, h.ended = 0, true
}
