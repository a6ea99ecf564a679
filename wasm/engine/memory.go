package engine

import (
	"fmt"
	"sync"
	"time"

	"github.com/tetratelabs/wazero/experimental"

	"wherry/wasm/meter"
)

const (
	pageSize = 64 << 10
	// maxMemory is a page less than there are addresses: wazero keeps the size in 32 bits.
	maxMemory = 4<<30 - pageSize
	// starvation is for how long a guest that could not get memory is taken to die of it.
	starvation = 5 * time.Second
)

// memory is the linear memory of one process, on the account of all that it takes. Where the system can, its whole range is
// reserved, so that it grows in place and only what was touched takes memory.
type memory struct {
	account  *account
	fallback bool // use the garbage collector's memory; for tests
	size     int64
	tables   int64  // bytes of the account that tables have
	stack    int64  // that the native stack has
	image    *image // what it begins with; may be nil
	region   region
	wanted   int64         // what was refused, with what the guest had
	refused  time.Time     // when
	broken   error         // the image could not be loaded
	ready    sync.Once     // there is memory, or there will be none
	started  chan struct{} // closed then
}

const (
	// entrySize is what a table has for an entry, in bytes.
	entrySize = 8
	maxTables = meter.MaxTableEntries * entrySize
)

// takeTable takes memory for entries of tables. All tables together have no more than the meter allows, so neither does
// what is taken for those whose growing then fails.
func (m *memory) takeTable(entries int64) bool {
	size := min(entries*entrySize, maxTables-m.tables)
	if !m.take(size) {
		return false
	}
	m.tables += size
	return true
}

// takeStack takes memory for a native stack of the size; stacks only grow.
func (m *memory) takeStack(size int64) bool {
	if size <= m.stack {
		return true
	}
	if !m.take(size - m.stack) {
		return false
	}
	m.stack = size
	return true
}

// take takes memory for the guest's own.
func (m *memory) take(bytes int64) bool {
	if m.account.take(bytes) {
		return true
	}
	m.refuse(m.account.used.Load() + bytes)
	return false
}

// region is a range of addresses.
type region interface {
	// resize returns the first size bytes, zero where they are new; nil if the system has none.
	resize(size int) []byte
	// load puts an image at the beginning, which is accessible and zero.
	load(*image) error
	free()
}

func newMemory(a *account, i *image) *memory {
	return &memory{account: a, image: i, started: make(chan struct{})}
}

// Allocate implements experimental.MemoryAllocator. A guest has one memory at most.
func (m *memory) Allocate(_, most uint64) experimental.LinearMemory {
	m.region = &slice{}
	if !m.fallback {
		m.region = newRegion(min(int64(most), maxMemory, m.account.limit/pageSize*pageSize))
	}
	return m
}

// Reallocate implements experimental.LinearMemory.
func (m *memory) Reallocate(size uint64) []byte {
	more := int64(size) - m.size
	if size > maxMemory {
		m.refuse(int64(size))
		return nil
	}
	if !m.take(more) {
		return nil
	}
	b := m.region.resize(int(size))
	if b == nil && size > 0 {
		m.account.take(-more)
		m.refuse(m.account.used.Load() + more)
		return nil
	}
	if m.image != nil {
		if m.broken = m.region.load(m.image); m.broken != nil {
			return nil
		}
		m.image = nil
	}
	m.size = int64(size)
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
	return fmt.Errorf("out of memory: it wanted %d KiB, the limit is %d KiB", m.wanted>>10, min(m.account.limit, maxMemory)>>10)
}

// Free implements experimental.LinearMemory.
func (m *memory) Free() { m.release() }

// release gives all back that the guest itself has taken. It may be called again.
func (m *memory) release() {
	if m.region != nil {
		m.region.free()
		m.region = nil
	}
	m.account.take(-(m.size + m.tables + m.stack))
	m.size, m.tables, m.stack = 0, 0, 0
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
