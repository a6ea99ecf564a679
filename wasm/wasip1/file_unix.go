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

// setLinkTimes changes the times of an entry of a directory, also if it is a symbolic link; a zero one stays.
func setLinkTimes(parent *os.File, name string, atim, mtim time.Time) error {
	info, err := fstatat(parent, name)
	if err != nil {
		return err
	}
	return control(parent, func(fd int) error {
		return unix.UtimesNanoAt(fd, name, timespecs(atim, mtim, info), unix.AT_SYMLINK_NOFOLLOW)
	})
}

// timespecs are an access and a modification time; a zero one is the old one.
func timespecs(atim, mtim time.Time, old filestat) []unix.Timespec {
	pick := func(t time.Time, old uint64) unix.Timespec {
		if t.IsZero() {
			return unix.NsecToTimespec(int64(old))
		}
		return unix.NsecToTimespec(t.UnixNano())
	}
	return []unix.Timespec{pick(atim, old.atim), pick(mtim, old.mtim)}
}

// fstatat returns the times of an entry that may be a symbolic link.
func fstatat(parent *os.File, name string) (st filestat, err error) {
	err = control(parent, func(fd int) error {
		var s unix.Stat_t
		if err := unix.Fstatat(fd, name, &s, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		st.atim, st.mtim = timesOf(&s)
		return nil
	})
	return st, err
}

// identify and identifyPlace have nothing to add: device and inode are part of what systemStat has.
func identify(*os.File, *filestat)   {}
func identifyPlace(place, *filestat) {}

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
