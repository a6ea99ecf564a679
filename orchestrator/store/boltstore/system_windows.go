package boltstore

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/windows"
)

const lockRetry = 20 * time.Millisecond

// The byte that bbolt locks, far behind the file's end.
func lockRange() *windows.Overlapped {
	return &windows.Overlapped{Offset: 1<<32 - 1, OffsetHigh: 1<<32 - 1}
}

// lock takes the lock that bbolt takes. It ends when f is closed. Errors: ErrInUse.
func lock(f *os.File, timeout time.Duration) error {
	const flags = windows.LOCKFILE_FAIL_IMMEDIATELY | windows.LOCKFILE_EXCLUSIVE_LOCK
	for end := time.Now().Add(timeout); ; time.Sleep(lockRetry) {
		err := windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, lockRange())
		if !errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
			return err
		}
		if time.Now().After(end) {
			return ErrInUse
		}
	}
}

func unlock(f *os.File) error {
	return windows.UnlockFileEx(windows.Handle(f.Fd()), 0, 1, 0, lockRange())
}

// syncDir does nothing: Windows writes names with the files, and cannot sync a folder.
func syncDir(string) error { return nil }
