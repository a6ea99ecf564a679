//go:build unix

package wasip1

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// openFlags keep an open from waiting for the other end of a FIFO.
const openFlags = unix.O_NONBLOCK

// systemAppend sets or clears O_APPEND.
func systemAppend(f *os.File, on bool) (emulate bool, err error) {
	return false, control(f, func(fd int) error {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err != nil {
			return err
		}
		flags &^= unix.O_APPEND
		if on {
			flags |= unix.O_APPEND
		}
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags)
		return err
	})
}

// setTimes changes the times of an open file; a zero one stays. Microseconds are what every system has.
func setTimes(f *os.File, atim, mtim time.Time) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	st := statOf(info)
	times := []unix.Timeval{timeval(atim, st.atim), timeval(mtim, st.mtim)}
	return control(f, func(fd int) error { return unix.Futimes(fd, times) })
}

func timeval(t time.Time, old uint64) unix.Timeval {
	if t.IsZero() {
		return unix.NsecToTimeval(int64(old))
	}
	return unix.NsecToTimeval(t.UnixNano())
}

func control(f *os.File, do func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = do(int(fd)) }); err != nil {
		return err
	}
	return inner
}

func syncDir(f *os.File) error { return f.Sync() }
