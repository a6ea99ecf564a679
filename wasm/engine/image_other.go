//go:build !linux

package engine

func (i *image) create(write func([]byte)) error {
	i.bytes = make([]byte, i.size)
	write(i.bytes)
	return nil
}

// overlay puts the image at the beginning of a mapping.
func (i *image) overlay(b []byte) error { return i.copy(b) }
