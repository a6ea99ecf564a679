package wasip1

import (
	"io/fs"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func systemStat(info fs.FileInfo, st *filestat) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return
	}
	st.dev, st.ino, st.links = uint64(s.Dev), s.Ino, uint64(s.Nlink)
	st.atim, st.ctim = uint64(max(s.Atimespec.Nano(), 0)), uint64(max(s.Ctimespec.Nano(), 0))
}

func timesOf(s *unix.Stat_t) (atim, mtim uint64) {
	return uint64(max(s.Atim.Nano(), 0)), uint64(max(s.Mtim.Nano(), 0))
}

// setTimes changes the times of an open file; a zero one stays. Package unix has no futimens: the file is named
// by its descriptor, and where that fails, microseconds must do.
func setTimes(f *os.File, atim, mtim time.Time) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	times := timespecs(atim, mtim, statOf(info))
	return control(f, func(fd int) error {
		if unix.UtimesNanoAt(unix.AT_FDCWD, "/dev/fd/"+strconv.Itoa(fd), times, 0) == nil {
			return nil
		}
		return unix.Futimes(fd, []unix.Timeval{
			unix.NsecToTimeval(times[0].Nano()), unix.NsecToTimeval(times[1].Nano()),
		})
	})
}
