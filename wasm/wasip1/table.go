package wasip1

import (
	"sync"
	"time"
)

// object is what a descriptor stands for: a dir, file, input, output, socket, conn, listener or packet. Its close
// returns at once; what it started ends soon after.
type object interface {
	filetype() filetype
	close() errno
}

// reader and writer are objects that carry bytes. They never wait: EAGAIN says that a change must come first.
type reader interface {
	read(bufs [][]byte) (int, errno)
}

type writer interface {
	write(bufs [][]byte) (int, errno)
}

// poller is an object that is not always ready.
type poller interface {
	readable() readiness
	writable() readiness
}

// readiness is the answer of a poller.
type readiness struct {
	ready  bool
	bytes  uint64 // that can be read, where known
	hangup bool
}

// descriptor is an entry of the table. Its object never changes (see table.replace); the guest's goroutine alone reads
// and changes the rest.
type descriptor struct {
	object
	flags              fdflags
	rights, inheriting rights
	preopen            string // the guest's path of a preopened directory, else ""
	options            map[uint32]uint32
	readTimeout        time.Duration // of blocking calls; 0: none
	writeTimeout       time.Duration
	held               int64 // bytes of the guest's memory
}

// descriptorSize is what a descriptor takes of the host, with what the system keeps for it, in bytes.
const descriptorSize = 1 << 10

// weigher is an object that takes more than descriptorSize from the beginning.
type weigher interface{ weight() int64 }

func (d *descriptor) weight() int64 {
	if o, ok := d.object.(weigher); ok {
		return descriptorSize + o.weight()
	}
	return descriptorSize
}

func (d *descriptor) nonblocking() bool { return d.flags&flagNonblock != 0 }

// table maps numbers to descriptors: the lowest free one is taken, as POSIX has it.
type table struct {
	mu      sync.Mutex
	entries []*descriptor
	open    int
	limit   int
	closed  bool
}

// get returns a descriptor that has all of the rights.
func (t *table) get(fd uint32, need rights) (*descriptor, errno) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if uint64(fd) >= uint64(len(t.entries)) || t.entries[fd] == nil {
		return nil, ebadf
	}
	d := t.entries[fd]
	if d.rights&need != need {
		return nil, enotcapable
	}
	return d, success
}

func (t *table) full() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open >= t.limit
}

// add takes a number. On failure the object is closed.
func (t *table) add(d *descriptor) (uint32, errno) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open >= t.limit || t.closed {
		d.close()
		return 0, emfile
	}
	t.open++
	for fd, e := range t.entries {
		if e == nil {
			t.entries[fd] = d
			return uint32(fd), success
		}
	}
	t.entries = append(t.entries, d)
	return uint32(len(t.entries) - 1), success
}

func (t *table) remove(fd uint32) (*descriptor, errno) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if uint64(fd) >= uint64(len(t.entries)) || t.entries[fd] == nil {
		return nil, ebadf
	}
	d := t.entries[fd]
	t.entries[fd] = nil
	t.open--
	return d, success
}

// renumber moves from over to, and returns what to was.
func (t *table) renumber(from, to uint32) (*descriptor, errno) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := uint64(len(t.entries))
	if uint64(from) >= n || uint64(to) >= n || t.entries[from] == nil || t.entries[to] == nil {
		return nil, ebadf
	}
	if from == to {
		return nil, success
	}
	old := t.entries[to]
	t.entries[to], t.entries[from] = t.entries[from], nil
	t.open--
	return old, success
}

// replace gives a descriptor another object.
func (t *table) replace(old *descriptor, o object) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for fd, d := range t.entries {
		if d == old {
			changed := *old
			changed.object = o
			t.entries[fd] = &changed
			return
		}
	}
	o.close() // the table was closed meanwhile
}

// drain closes the table for good and returns what was in it.
func (t *table) drain() []*descriptor {
	t.mu.Lock()
	defer t.mu.Unlock()
	entries := t.entries
	t.entries, t.open, t.closed = nil, 0, true
	return entries
}
