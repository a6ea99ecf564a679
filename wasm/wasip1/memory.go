package wasip1

import (
	"encoding/binary"

	"github.com/tetratelabs/wazero/api"
)

const (
	// maxVectors bounds the vectors of one read or write, as IOV_MAX does on POSIX systems.
	maxVectors = 1024
	// maxPath bounds a path in bytes.
	maxPath = 4096
)

// fault ends a call with EFAULT: the guest passed a pointer that is not in its memory.
type fault struct{}

// memory is a guest's memory. Its methods panic with a fault outside of it, which dispatch turns into EFAULT. Slices
// are views: they are valid until the call returns.
type memory struct{ api.Memory }

func (m memory) bytes(ptr, n uint32) []byte {
	if n == 0 {
		return nil
	}
	if m.Memory == nil {
		panic(fault{})
	}
	b, ok := m.Read(ptr, n)
	if !ok {
		panic(fault{})
	}
	return b
}

func (m memory) u32(ptr uint32) uint32 { return binary.LittleEndian.Uint32(m.bytes(ptr, 4)) }

func (m memory) putU32(ptr, v uint32)        { binary.LittleEndian.PutUint32(m.bytes(ptr, 4), v) }
func (m memory) putU64(ptr uint32, v uint64) { binary.LittleEndian.PutUint64(m.bytes(ptr, 8), v) }

// vectors appends the buffers that n records {ptr, len} at ptr name.
func (m memory) vectors(to [][]byte, ptr, n uint32) ([][]byte, errno) {
	if n > maxVectors {
		return nil, einval
	}
	table := m.bytes(ptr, n*8)
	for ; len(table) > 0; table = table[8:] {
		at, size := binary.LittleEndian.Uint32(table), binary.LittleEndian.Uint32(table[4:])
		if b := m.bytes(at, size); len(b) > 0 {
			to = append(to, b)
		}
	}
	return to, success
}

// path reads a path. It is not yet safe: an os.Root judges it.
func (m memory) path(ptr, n uint32) (string, errno) {
	if n > maxPath {
		return "", enametoolong
	}
	if n == 0 {
		return "", enoent
	}
	return string(m.bytes(ptr, n)), success
}
