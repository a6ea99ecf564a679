//go:build !windows

package logfile

import "os"

// openShared opens a file that may be renamed and removed while it is open.
func openShared(path string) (*os.File, error) { return os.Open(path) }
