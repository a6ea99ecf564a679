//go:build unix

package wasmprocess

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// limitFiles forbids core dumps, which would hold what a guest knows, and bounds open files.
func limitFiles() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("no core dumps: %w", err)
	}
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return err
	}
	// A descriptor of a guest may take two of the process.
	const most = 4096
	files.Max = min(files.Max, most)
	files.Cur = files.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("open files: %w", err)
	}
	return nil
}
