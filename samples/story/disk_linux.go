package story

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// canMount says whether the tests have the right to mount file systems.
func canMount() bool { return os.Geteuid() == 0 }

func mount(dir string, size int) error {
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size)); err != nil {
		return fmt.Errorf("mounting a disk of %d bytes: %w", size, err)
	}
	return nil
}

func unmount(dir string) error { return unix.Unmount(dir, 0) }

func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) }
