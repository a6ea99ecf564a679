package wasip1

import (
	"io/fs"
	"os"
	"syscall"

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
