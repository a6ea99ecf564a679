package wasip1

import (
	"errors"
	"io/fs"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

const openFlags = 0

// systemAppend leaves it to the caller: Windows decides when a file is opened.
func systemAppend(_ *os.File, on bool) (emulate bool, err error) { return on, nil }

// setTimes changes the times of an open file; a zero one stays.
func setTimes(f *os.File, atim, mtim time.Time) error {
	return windows.SetFileTime(windows.Handle(f.Fd()), nil, filetimeOf(atim), filetimeOf(mtim))
}

// setLinkTimes changes the times of an entry of a directory, also if it is a symbolic link; a zero one stays.
func setLinkTimes(parent *os.File, name string, atim, mtim time.Time) error {
	objectName, err := windows.NewNTUnicodeString(name)
	if err != nil {
		return err
	}
	attributes := windows.OBJECT_ATTRIBUTES{
		RootDirectory: windows.Handle(parent.Fd()), ObjectName: objectName, Attributes: windows.OBJ_CASE_INSENSITIVE,
	}
	attributes.Length = uint32(unsafe.Sizeof(attributes))
	var handle windows.Handle
	var status windows.IO_STATUS_BLOCK
	err = windows.NtCreateFile(&handle, windows.FILE_WRITE_ATTRIBUTES|windows.SYNCHRONIZE, &attributes, &status, nil, 0,
		windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE|windows.FILE_SHARE_DELETE, windows.FILE_OPEN,
		windows.FILE_OPEN_REPARSE_POINT|windows.FILE_SYNCHRONOUS_IO_NONALERT, 0, 0)
	if number, ok := err.(windows.NTStatus); ok {
		return number.Errno()
	}
	if err != nil {
		return err
	}
	err = windows.SetFileTime(handle, nil, filetimeOf(atim), filetimeOf(mtim))
	return errors.Join(err, windows.CloseHandle(handle))
}

func filetimeOf(t time.Time) *windows.Filetime {
	if t.IsZero() {
		return nil
	}
	ft := windows.NsecToFiletime(t.UnixNano())
	return &ft
}

// identify adds device, inode and links, which Windows tells only of open files.
func identify(f *os.File, st *filestat) {
	var d windows.ByHandleFileInformation
	if windows.GetFileInformationByHandle(windows.Handle(f.Fd()), &d) == nil {
		st.dev, st.links = uint64(d.VolumeSerialNumber), uint64(d.NumberOfLinks)
		st.ino = uint64(d.FileIndexHigh)<<32 | uint64(d.FileIndexLow)
	}
}

// identifyPlace does so for what a place leads to. What cannot be opened, and links, have none.
func identifyPlace(p place, st *filestat) {
	if p.root == nil || st.kind == typeSymlink {
		return
	}
	f, err := p.root.Open(p.name)
	if err != nil {
		return
	}
	identify(f, st)
	_ = f.Close() // nothing was written
}

// systemStat adds times.
func systemStat(info fs.FileInfo, st *filestat) {
	if d, ok := info.Sys().(*windows.Win32FileAttributeData); ok {
		st.atim = uint64(max(d.LastAccessTime.Nanoseconds(), 0))
		st.ctim = uint64(max(d.CreationTime.Nanoseconds(), 0))
	}
}

// syncDir does nothing: Windows makes entries durable on its own.
func syncDir(*os.File) error { return nil }
