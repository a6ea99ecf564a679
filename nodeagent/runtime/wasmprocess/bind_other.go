//go:build !linux

package wasmprocess

import "net"

// bind listens on a socket. Its path may have about 100 bytes.
func bind(path string) (net.Listener, error) { return net.Listen("unix", path) }
