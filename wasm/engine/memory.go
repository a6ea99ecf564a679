package engine

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero/experimental"
)

const (
	pageSize = 64 << 10
	// maxMemory is a page less than there are addresses: wazero keeps the size in 32 bits.
	maxMemory = 4<<30 - pageSize
	// starvation is for how long a guest that could not get memory is taken to die of it.
	starvation = 5 * time.Second
)

// memory is the linear memory of one process. Where the system can, its whole range is reserved, so that it grows in
// place and only what was touched takes memory.
type memory struct {
	limit    int64
	fallback bool // use the garbage collector's memory; for tests
	size     atomic.Int64
	image    *image // what it begins with; may be nil
	region   region
	wanted   int64         // what was refused, with what the guest had
	refused  time.Time     // when
	broken   error         // the image could not be loaded
	ready    sync.Once     // there is memory, or there will be none
	started  chan struct{} // closed then
}

// region is a range of addresses.
type region interface {
	// resize returns the first size bytes, zero where they are new; nil if the system has none.
	resize(size int) []byte
	// load puts an image at the beginning, which is accessible and zero.
	load(*image) error
	free()
}

// newMemory returns a memory with a limit in bytes, rounded down to pages; 0 is the most that there can be.
func newMemory(limit int64, i *image) *memory {
	if limit <= 0 || limit > maxMemory {
		limit = maxMemory
	}
	return &memory{limit: limit / pageSize * pageSize, image: i, started: make(chan struct{})}
}

// Allocate implements experimental.MemoryAllocator. A guest has one memory at most.
func (m *memory) Allocate(_, most uint64) experimental.LinearMemory {
	m.region = &slice{}
	if !m.fallback {
		m.region = newRegion(min(int64(most), m.limit))
	}
	return m
}

// Reallocate implements experimental.LinearMemory.
func (m *memory) Reallocate(size uint64) []byte {
	if int64(size) > m.limit {
		m.refuse(int64(size))
		return nil
	}
	b := m.region.resize(int(size))
	if b == nil && size > 0 {
		m.refuse(int64(size))
		return nil
	}
	if m.image != nil {
		if m.broken = m.region.load(m.image); m.broken != nil {
			return nil
		}
		m.image = nil
	}
	m.size.Store(int64(size))
	m.start()
	return b
}

func (m *memory) start() { m.ready.Do(func() { close(m.started) }) }

func (m *memory) refuse(size int64) { m.wanted, m.refused = size, time.Now() }

// starved says whether the guest has been refused memory just now.
func (m *memory) starved() bool { return m.wanted > 0 && time.Since(m.refused) < starvation }

// failed says what was refused or did not succeed; nil if all was well.
func (m *memory) failed() error {
	if m.wanted == 0 {
		return m.broken
	}
	return fmt.Errorf("out of memory: it wanted %d KiB, the limit is %d KiB", m.wanted>>10, m.limit>>10)
}

// Free implements experimental.LinearMemory.
func (m *memory) Free() { m.release() }

// release gives the memory back. It may be called again.
func (m *memory) release() {
	if m.region != nil {
		m.region.free()
		m.region = nil
	}
	m.size.Store(0)
}

// slice is a region that the garbage collector has.
type slice struct{ b []byte }

func (s *slice) resize(size int) []byte {
	if size > cap(s.b) {
		b := make([]byte, size)
		copy(b, s.b)
		s.b = b
	}
	s.b = s.b[:size]
	if s.b == nil {
		s.b = []byte{}
	}
	return s.b
}

func (s *slice) load(i *image) error { return i.copy(s.b) }
func (s *slice) free()               { s.b = nil }
