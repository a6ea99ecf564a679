//go:build !windows

package wasip1

import "syscall"

// windowsErrnos is empty where errors have POSIX numbers.
var windowsErrnos map[syscall.Errno]errno
