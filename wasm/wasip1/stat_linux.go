package wasip1

import (
	"io/fs"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func systemStat(info fs.FileInfo, st *filestat) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return
	}
	st.dev, st.ino, st.links = uint64(s.Dev), s.Ino, uint64(s.Nlink) //nolint:unconvert // differs between architectures
	st.atim, st.ctim = uint64(max(s.Atim.Nano(), 0)), uint64(max(s.Ctim.Nano(), 0))
}

// reserve allocates space, which also extends the file.
func reserve(f *os.File, offset, length int64) error {
	return control(f, func(fd int) error { return unix.Fallocate(fd, 0, offset, length) })
}

func timesOf(s *unix.Stat_t) (atim, mtim uint64) {
	return uint64(max(s.Atim.Nano(), 0)), uint64(max(s.Mtim.Nano(), 0))
}

// setTimes changes the times of an open file; a zero one stays.
func setTimes(f *os.File, atim, mtim time.Time) error {
	var times [2]unix.Timespec
	for i, t := range []time.Time{atim, mtim} {
		times[i] = unix.NsecToTimespec(t.UnixNano())
		if t.IsZero() {
			times[i] = unix.Timespec{Nsec: unix.UTIME_OMIT}
		}
	}
	return control(f, func(fd int) error {
		// Without a path utimensat is futimens, which package unix does not have.
		_, _, number := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&times)), 0, 0, 0)
		if number != 0 {
			return number
		}
		return nil
	})
}
