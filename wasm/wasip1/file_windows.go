package wasip1

import (
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/windows"
)

const openFlags = 0

// systemAppend leaves it to the caller: Windows decides when a file is opened.
func systemAppend(_ *os.File, on bool) (emulate bool, err error) { return on, nil }

// setTimes changes the times of an open file; a zero one stays.
func setTimes(f *os.File, atim, mtim time.Time) error {
	return windows.SetFileTime(windows.Handle(f.Fd()), nil, filetimeOf(atim), filetimeOf(mtim))
}

func filetimeOf(t time.Time) *windows.Filetime {
	if t.IsZero() {
		return nil
	}
	ft := windows.NsecToFiletime(t.UnixNano())
	return &ft
}

// systemStat adds times. Windows tells device and inode only of open files, so they stay 0.
func systemStat(info fs.FileInfo, st *filestat) {
	if d, ok := info.Sys().(*windows.Win32FileAttributeData); ok {
		st.atim = uint64(max(d.LastAccessTime.Nanoseconds(), 0))
		st.ctim = uint64(max(d.CreationTime.Nanoseconds(), 0))
	}
}

// syncDir does nothing: Windows makes entries durable on its own.
func syncDir(*os.File) error { return nil }
