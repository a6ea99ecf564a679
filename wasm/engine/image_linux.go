package engine

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// create makes the image in a file without a name.
func (i *image) create(write func([]byte)) error {
	fd, err := unix.MemfdCreate("wasm-image", unix.MFD_CLOEXEC)
	if err != nil { // forbidden here, as in some sandboxes
		i.bytes = make([]byte, i.size)
		write(i.bytes)
		return nil
	}
	i.file = os.NewFile(uintptr(fd), "wasm-image")
	if err := i.file.Truncate(int64(i.size)); err != nil {
		return err
	}
	b, err := unix.Mmap(fd, 0, i.size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	write(b)
	return unix.Munmap(b)
}

// overlay puts the image at the beginning of a mapping.
func (i *image) overlay(b []byte) error {
	if i.file == nil {
		return i.copy(b)
	}
	_, err := unix.MmapPtr(int(i.file.Fd()), 0, unsafe.Pointer(unsafe.SliceData(b)), uintptr(i.size),
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_FIXED)
	return err
}
