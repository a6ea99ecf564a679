package wasip1

import (
	"io/fs"
	"syscall"
)

func systemStat(info fs.FileInfo, st *filestat) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return
	}
	st.dev, st.ino, st.links = uint64(s.Dev), s.Ino, uint64(s.Nlink)
	st.atim, st.ctim = uint64(max(s.Atimespec.Nano(), 0)), uint64(max(s.Ctimespec.Nano(), 0))
}
