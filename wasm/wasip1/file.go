package wasip1

import (
	"io"
	"io/fs"
	"os"
	"time"
)

// file is an open regular file.
type file struct {
	*os.File
	// emulateAppend moves to the end before each write, where the system cannot be told to after opening.
	emulateAppend bool
	// readOnly says that nothing of the file may be changed, whatever its rights are: its mount is.
	readOnly bool
}

func (f *file) filetype() filetype { return typeRegular }
func (f *file) close() errno       { return errnoOf(f.File.Close()) }

func (f *file) setAppend(on bool) error {
	emulate, err := systemAppend(f.File, on)
	f.emulateAppend = emulate
	return err
}

func (f *file) read(bufs [][]byte) (int, errno) {
	return each(bufs, f.File.Read)
}

func (f *file) write(bufs [][]byte) (int, errno) {
	if f.emulateAppend {
		if _, err := f.Seek(0, io.SeekEnd); err != nil {
			return 0, errnoOf(err)
		}
	}
	return each(bufs, f.File.Write)
}

func (f *file) readAt(bufs [][]byte, offset int64) (int, errno) {
	return each(bufs, func(b []byte) (int, error) {
		n, err := f.ReadAt(b, offset)
		offset += int64(n)
		return n, err
	})
}

func (f *file) writeAt(bufs [][]byte, offset int64) (int, errno) {
	return each(bufs, func(b []byte) (int, error) {
		n, err := f.WriteAt(b, offset)
		offset += int64(n)
		return n, err
	})
}

// each does buffer after buffer until one is not done in full. An error counts only if nothing was done before it.
func each(bufs [][]byte, do func([]byte) (int, error)) (int, errno) {
	total := 0
	for _, b := range bufs {
		n, err := do(b)
		total += n
		switch {
		case err == io.EOF:
			return total, success
		case err != nil && total == 0:
			return 0, errnoOf(err)
		case err != nil || n < len(b):
			return total, success
		}
	}
	return total, success
}

// grow makes the file at least so large. Systems that can reserve the space do.
func (f *file) grow(offset, length int64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := reserve(f.File, offset, length); err != nil {
		return err
	}
	if end := offset + length; end > info.Size() {
		return f.Truncate(end)
	}
	return nil
}

// filestat describes a file (WASI preview 1, type filestat). Times are nanoseconds since 1970.
type filestat struct {
	dev, ino, links uint64
	kind            filetype
	size            uint64
	atim, mtim      uint64
	ctim            uint64
}

func statOf(info fs.FileInfo) filestat {
	mtim := nanoseconds(info.ModTime())
	st := filestat{links: 1, kind: typeOf(info.Mode()), size: uint64(max(info.Size(), 0)), atim: mtim, mtim: mtim, ctim: mtim}
	systemStat(info, &st)
	return st
}

func nanoseconds(t time.Time) uint64 { return uint64(max(t.UnixNano(), 0)) }

func typeOf(mode fs.FileMode) filetype {
	switch mode.Type() {
	case 0:
		return typeRegular
	case fs.ModeDir:
		return typeDirectory
	case fs.ModeSymlink:
		return typeSymlink
	case fs.ModeSocket:
		return typeStream
	case fs.ModeDevice:
		return typeBlockDevice
	case fs.ModeDevice | fs.ModeCharDevice:
		return typeCharacterDevice
	}
	return typeUnknown
}

// put writes the record, 64 bytes.
func (st filestat) put(m memory, ptr uint32) {
	m.putU64(ptr, st.dev)
	m.putU64(ptr+8, st.ino)
	m.putU64(ptr+16, uint64(st.kind))
	m.putU64(ptr+24, st.links)
	m.putU64(ptr+32, st.size)
	m.putU64(ptr+40, st.atim)
	m.putU64(ptr+48, st.mtim)
	m.putU64(ptr+56, st.ctim)
}

const (
	setAtim = 1 << iota
	setAtimNow
	setMtim
	setMtimNow
)

// timesToSet decodes arguments i (atim), i+1 (mtim) and i+2 (fstflags). A zero time is not to be changed.
func timesToSet(c call, i int) (atim, mtim time.Time, e errno) {
	flags := c.u32(i + 2)
	if flags > setAtim|setAtimNow|setMtim|setMtimNow ||
		flags&(setAtim|setAtimNow) == setAtim|setAtimNow || flags&(setMtim|setMtimNow) == setMtim|setMtimNow {
		return atim, mtim, einval
	}
	pick := func(value uint64, set, now bool) time.Time {
		switch {
		case now:
			return time.Now()
		case set:
			return time.Unix(int64(value/1e9), int64(value%1e9))
		}
		return time.Time{}
	}
	atim = pick(c.u64(i), flags&setAtim != 0, flags&setAtimNow != 0)
	mtim = pick(c.u64(i+1), flags&setMtim != 0, flags&setMtimNow != 0)
	return atim, mtim, success
}
