package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/spf13/cobra"

	"wherry/cmd/internal/sandbox"
)

// daemon is a verb that wherryd carries out, with all its arguments.
func daemon(verb, short string) *cobra.Command { return delegate(verb, short, verb) }

// delegate is a command that wherryd knows under the given words.
func delegate(use, short string, words ...string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, DisableFlagParsing: true,
		RunE: func(c *cobra.Command, args []string) error {
			path, err := sibling("wherryd")
			if err != nil {
				return err
			}
			return become(path, slices.Concat([]string{"wherryd"}, words, args))
		},
	}
}

// sibling finds a command of ours: in the folder of this one, else on the PATH.
func sibling(name string) (string, error) {
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding %s: %w", name, err)
	}
	if real, err := filepath.EvalSymlinks(self); err == nil {
		self = real
	}
	beside := filepath.Join(filepath.Dir(self), name)
	if _, err := os.Stat(beside); err == nil {
		return beside, nil
	}
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	return "", fmt.Errorf("%s is neither beside %s nor on the PATH: install both together", name, self)
}

// exitCode is how a child that took our place has ended.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// report tells the user about an error and returns the exit code.
func report(err error) int {
	var code exitCode
	if errors.As(err, &code) {
		return int(code)
	}
	var guest sandbox.ExitCode
	if errors.As(err, &guest) {
		return int(guest)
	}
	fmt.Fprintln(os.Stderr, "error:", err)
	return 1
}
