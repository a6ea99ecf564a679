//go:build unix

package main

import (
	"fmt"
	"os"
	"syscall"
)

// become replaces this process by another program.
func become(path string, args []string) error {
	return fmt.Errorf("starting %s: %w", path, syscall.Exec(path, args, os.Environ()))
}
