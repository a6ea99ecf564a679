// Package wasm is a sandbox for WebAssembly modules that speak WASI preview 1. It is a library on its own
// and the only door to what lies below it: engine (compiling, caching, limits), meter
// (CPU time), wasip1 (the host functions), artifact (OCI shapes).
//
// Nothing is granted by default: no file outside the mounts, no network but the given one.
package wasm

import (
	"context"
	"errors"
	"io"
	"time"

	"wherry/wasm/wasip1"
)

var (
	// ErrNotModule says that the bytes are not a core module; the text says what they are
	// (a component, a text file) and what to do.
	ErrNotModule = errors.New("wasm: not a module")
	// ErrUnsupported says that the module needs something that this host does not have.
	ErrUnsupported = errors.New("wasm: unsupported")
)

// Config configures a Host.
type Config struct {
	// CacheDir keeps compiled code by digest; "" keeps it in memory only.
	CacheDir string
	// Interpreter refuses the compiler, also where there is one.
	Interpreter bool
}

// Host compiles modules and runs them. All methods may be called concurrently.
type Host struct{}

// New returns a host. Close ends everything that runs in it.
func New(c Config) (*Host, error) { panic("contract") }

// Close stops all instances and releases everything.
func (h *Host) Close() error { panic("contract") }

// Engine says how guests are executed here: "compiler" or "interpreter".
func (h *Host) Engine() string { panic("contract") }

// Compile makes a module of the bytes, or finds it by their digest ("sha256:...", trusted to be
// theirs). open is called only when neither memory nor the cache have it. Modules are shared; every Compile is
// matched by one Module.Release. Errors: ErrNotModule, ErrUnsupported.
func (h *Host) Compile(ctx context.Context, digest string, open func() (io.ReadCloser, error)) (*Module, error) {
	panic("contract")
}

// Module is a compiled module.
type Module struct{}

// Release gives the module back.
func (m *Module) Release() { panic("contract") }

// Spec is one run of a module.
type Spec struct {
	// Tenant separates: instances of different tenants share no runtime.
	Tenant string
	// Name shows up in traps and profiles.
	Name string

	Args, Env      []string // Args[0] is the program's name; Env is "K=V"
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Mounts become preopened directories, in order; Dir is the working directory (PWD).
	Mounts []wasip1.Mount
	Dir    string
	// Network is what sockets use; nil: none. Listen become preopened listeners after the
	// preopened directories, in order.
	Network wasip1.Network
	Listen  []wasip1.Address

	MemoryBytes int64 // limit; 0: 4 GiB
	CPUMillis   int64 // limit in thousandths of a core; 0: none
	Descriptors int   // limit; 0: 1024
}

// Exit is how a guest ended.
type Exit struct {
	// Code is the guest's exit code; 137 when it was killed, 134 when it trapped.
	Code int
	// Reason: Completed, Error, OOMKilled.
	Reason string
	// Message says what trapped and where; "" for a plain exit.
	Message string
}

// Instance is a guest that has been started.
type Instance struct{}

// Start instantiates the module and runs it. ctx bounds the start only. Errors are about the spec and the module; what
// the guest does is in its Exit.
func (h *Host) Start(ctx context.Context, m *Module, s Spec) (*Instance, error) { panic("contract") }

// Done is closed when the guest has ended and everything that it held is released.
func (i *Instance) Done() <-chan struct{} { panic("contract") }

// Exit is valid once Done is closed.
func (i *Instance) Exit() Exit { panic("contract") }

// Terminate asks the guest to end: its accepts and sleeps fail so that it can finish (preview 1 has no
// signals). Kill ends it wherever it is, within 100 ms. Both return at once.
func (i *Instance) Terminate() { panic("contract") }
func (i *Instance) Kill()      { panic("contract") }

// Usage is CPU time since the start and memory held now.
func (i *Instance) Usage() (cpu time.Duration, memory int64) { panic("contract") }
