// Package sandbox is the command `wasm`: it runs a module on this machine in the sandbox that pods have, and says what
// a module needs.
package sandbox

import (
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"wherry/wasm"
)

// ExitCode is the error of a guest that ended with another code than 0.
type ExitCode int

func (c ExitCode) Error() string { return "exit code " + strconv.Itoa(int(c)) }

// Streams are the standard streams of the command.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// New returns the command. Errors of its run are ExitCode when the guest has ended.
func New(streams Streams) *cobra.Command {
	c := &cobra.Command{Use: "wasm", Short: "Run or inspect a WebAssembly module on this machine"}
	c.AddCommand(newRun(streams), newInspect(streams))
	return c
}

// engine are the flags that say how modules are compiled.
type engine struct {
	cacheDir    string
	interpreter bool
}

func (e *engine) flags(c *cobra.Command) {
	dir := ""
	if cache, err := os.UserCacheDir(); err == nil {
		dir = filepath.Join(cache, "wherry", "wasm")
	}
	c.Flags().StringVar(&e.cacheDir, "cache-dir", dir, `where compiled code is kept; "": nowhere`)
	c.Flags().BoolVar(&e.interpreter, "interpreter", false, "interpret the module instead of compiling it")
}

// host makes a host that says on w what guests cannot be told.
func (e *engine) host(w io.Writer) (*wasm.Host, error) {
	return wasm.New(wasm.Config{
		CacheDir: e.cacheDir, Interpreter: e.interpreter,
		Logger: slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
}

// open reads a module's file once to know its digest, and returns how to read it again.
func open(path string) (digest string, again func() (io.ReadCloser, error), err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", nil, err
	}
	defer f.Close() // only read
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("sha256:%x", hash.Sum(nil)), func() (io.ReadCloser, error) { return os.Open(path) }, nil
}
