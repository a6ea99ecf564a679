package engine

import (
	"fmt"
	"os"

	"wherry/wasm/meter"
)

// image is what the memory of a module begins with. It is made once for a module; where the system can, the memories of
// its processes are private mappings of it: a page takes memory of its own when it is written.
type image struct {
	size  int      // in bytes; a multiple of the system's page
	bytes []byte   // nil if it is in file
	file  *os.File // may be mapped; nil if it is in bytes
}

// newImage puts segments together; nil if there are none.
func newImage(segments []meter.Segment) (*image, error) {
	end := 0
	for _, s := range segments {
		end = max(end, int(s.Offset)+len(s.Bytes))
	}
	if end == 0 {
		return nil, nil
	}
	page := os.Getpagesize()
	i := &image{size: (end + page - 1) / page * page}
	err := i.create(func(b []byte) {
		for _, s := range segments {
			copy(b[s.Offset:], s.Bytes)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("make the image of a module's memory: %w", err)
	}
	return i, nil
}

// copy puts the image at the beginning of memory that is zero.
func (i *image) copy(b []byte) error {
	if i.file == nil {
		copy(b, i.bytes)
		return nil
	}
	_, err := i.file.ReadAt(b[:i.size], 0)
	return err
}

// close gives the image back. Memories that have been made of it stay.
func (i *image) close() error {
	if i == nil || i.file == nil {
		return nil
	}
	return i.file.Close()
}
