//go:build unix

package engine

import (
	"math"

	"golang.org/x/sys/unix"
)

// mapping is a region of which a part is accessible.
type mapping struct {
	b          []byte
	accessible int
}

// newRegion reserves most bytes of addresses.
func newRegion(most int64) region {
	if most == 0 || most > math.MaxInt || math.MaxInt == math.MaxInt32 {
		return &slice{}
	}
	b, err := unix.Mmap(-1, 0, int(most), unix.PROT_NONE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return &slice{} // addresses are limited here: memory is still to be had
	}
	return &mapping{b: b}
}

func (m *mapping) resize(size int) []byte {
	if size > len(m.b) {
		return nil
	}
	if size > m.accessible {
		if err := unix.Mprotect(m.b[m.accessible:size], unix.PROT_READ|unix.PROT_WRITE); err != nil {
			return nil
		}
		m.accessible = size
	}
	return m.b[:size:size]
}

func (m *mapping) load(i *image) error { return i.overlay(m.b) }

func (m *mapping) free() {
	// A range that was mapped can be unmapped.
	_ = unix.Munmap(m.b)
}
