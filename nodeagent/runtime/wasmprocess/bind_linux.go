package wasmprocess

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// maxSocketPath is how long the path of a socket may be.
const maxSocketPath = 107

// bind listens on a socket. A path that is too long is named through its open directory.
func bind(path string) (net.Listener, error) {
	if len(path) <= maxSocketPath {
		return net.Listen("unix", path)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer dir.Close() // only named
	l, err := net.Listen("unix", fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)))
	if err != nil {
		return nil, err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // the name means something else by then
	return l, nil
}
