package daemon

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// dropProgram unmaps the pages of this program's file that are mapped now. They are as they are in the file: what is used
// again is mapped again, from the system's cache.
func dropProgram() error {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return err
	}
	defer maps.Close() // only read
	var errs []error
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		// 00400000-01b8f000 r-xp 00000000 fe:00 1234567    /usr/bin/wherryd
		f := strings.Fields(lines.Text())
		if len(f) != 6 || f[5] != self || strings.Contains(f[1], "w") {
			continue
		}
		first, last, _ := strings.Cut(f[0], "-")
		from, err := strconv.ParseUint(first, 16, 64)
		to, err2 := strconv.ParseUint(last, 16, 64)
		if err := errors.Join(err, err2); err != nil {
			return fmt.Errorf("/proc/self/maps: %w", err)
		}
		if _, _, no := unix.Syscall(unix.SYS_MADVISE, uintptr(from), uintptr(to-from), unix.MADV_DONTNEED); no != 0 {
			errs = append(errs, fmt.Errorf("madvise: %w", no))
		}
	}
	return errors.Join(errs...)
}
