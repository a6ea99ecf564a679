// Package wasm is a sandbox for WebAssembly modules that speak WASI preview 1. It is a library on its own
// and the only door to what lies below it: engine (compiling, caching, limits), meter
// (CPU time), wasip1 (the host functions), artifact (OCI shapes).
//
// Nothing is granted by default: no file outside the mounts, no network but the given one.
package wasm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"

	"wherry/wasm/engine"
	"wherry/wasm/wasip1"
)

var (
	// ErrNotModule says that the bytes are not a core module; the text says what they are
	// (a component, a text file) and what to do.
	ErrNotModule = engine.ErrNotModule
	// ErrUnsupported says that the module needs something that this host does not have.
	ErrUnsupported = engine.ErrUnsupported
	// ErrClosed says that the host has been closed.
	ErrClosed = engine.ErrClosed
)

// Config configures a Host.
type Config struct {
	// CacheDir keeps compiled code by digest; "" keeps it in memory only. It belongs to one Host, and
	// nobody else may write to it: what is in it is executed.
	CacheDir string
	// CacheShared says that CacheDir is another Host's: what is in it is used, and nothing in it is removed.
	CacheShared bool
	// Interpreter refuses the compiler, also where there is one.
	Interpreter bool
	// Logger gets what guests cannot be told; nil is slog.Default().
	Logger *slog.Logger
}

// Host compiles modules and runs them. All methods may be called concurrently.
type Host struct {
	engine *engine.Engine
	log    *slog.Logger

	mu        sync.Mutex // guards what follows
	closed    bool
	instances map[*Instance]struct{}
	guests    sync.WaitGroup // their goroutines
}

// New returns a host. Close ends everything that runs in it.
func New(c Config) (*Host, error) {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	e, err := engine.New(engine.Config{
		CacheDir:    c.CacheDir,
		CacheShared: c.CacheShared,
		Interpreter: c.Interpreter,
		Logger:      c.Logger,
		Hosts:       []func(context.Context, wazero.Runtime) error{wasip1.Instantiate},
		Rename:      rename,
	})
	if err != nil {
		return nil, err
	}
	return &Host{engine: e, log: c.Logger, instances: map[*Instance]struct{}{}}, nil
}

// rename tells the versions of the socket extension apart.
func rename(module, name string, params int) string {
	if module == wasip1.ModuleName {
		return wasip1.ImportName(name, params)
	}
	return name
}

// Close kills all instances, waits for them and releases everything.
func (h *Host) Close() error {
	h.mu.Lock()
	h.closed = true
	for i := range h.instances {
		i.Kill()
	}
	h.mu.Unlock()
	h.guests.Wait()
	return h.engine.Close()
}

// Engine says how guests are executed here: "compiler" or "interpreter".
func (h *Host) Engine() string { return h.engine.Name() }

// Compile makes a module of the bytes, or finds it by their digest ("sha256:...", trusted to be
// theirs). open is called when the module is not in memory, also if its code is in the cache. Modules are shared; every
// Compile is matched by one Module.Release. Errors: ErrNotModule, ErrUnsupported, ErrClosed.
func (h *Host) Compile(ctx context.Context, digest string, open func() (io.ReadCloser, error)) (*Module, error) {
	m, err := h.engine.Compile(ctx, digest, open)
	if err != nil {
		return nil, err
	}
	return &Module{m: m}, nil
}

// Module is a compiled module.
type Module struct {
	m       *engine.Module
	release sync.Once
}

// Release gives the module back. Instances that run keep what they need.
func (m *Module) Release() { m.release.Do(m.m.Release) }

// DefaultMemory is a sensible limit for guests that are given none, in bytes: they must not take the whole machine.
const DefaultMemory = 512 << 20

// Spec is one run of a module.
type Spec struct {
	// Tenant separates: instances of different tenants share no runtime.
	Tenant string
	// Name shows up in traps and logs.
	Name string

	Args, Env []string // Args[0] is the program's name; Env is "K=V"
	// Stdin is closed with the instance if it is an io.Closer; then its Read must return.
	Stdin io.Reader
	// A Write to Stdout or Stderr that waits holds the guest, also when it is killed.
	Stdout, Stderr io.Writer
	// Mounts become preopened directories, in order; Dir is the working directory (PWD).
	Mounts []wasip1.Mount
	Dir    string
	// Network is what sockets use; nil: none. Listen become preopened listeners after the
	// preopened directories, in order.
	Network wasip1.Network
	Listen  []wasip1.Address

	// MemoryBytes bounds linear memory, tables, the native stack and what the host holds for the guest; 0: a page less
	// than 4 GiB.
	MemoryBytes int64
	CPUMillis   int64 // limit in thousandths of a core; 0: none
	// Limits replaces MemoryBytes and CPUMillis by what the guest shares with others; nil: limits of its own.
	Limits        *Limits
	RequestMillis int64 // weight against other guests when the machine is busy, in thousandths of a core
	Descriptors   int   // limit; 0: 1024
	OutputRate    int64 // bytes a second that may be written to Stdout, and to Stderr; 0: as many as it likes
}

// Limits are what instances may take together of memory and of processor time.
type Limits = engine.Limits

// NewLimits returns limits in bytes and in thousandths of a core; 0: none.
func NewLimits(memoryBytes, cpuMillis int64) *Limits { return engine.NewLimits(memoryBytes, cpuMillis) }

// Reasons of an Exit.
const (
	Completed = "Completed"
	Error     = "Error"
	OOMKilled = "OOMKilled"
)

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
type Instance struct {
	process *engine.Process
	limits  *Limits
	system  *wasip1.System
	done    chan struct{}
	exit    Exit // set before done is closed
}

// Start runs the module, and returns when the guest has its memory. ctx bounds the start only. Errors are about the spec and the module, or ErrClosed; what
// the guest does is in its Exit.
func (h *Host) Start(ctx context.Context, m *Module, s Spec) (*Instance, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("wasm: start %s: %w", s.Name, err)
	}
	i := &Instance{limits: s.Limits, done: make(chan struct{})}
	if i.limits == nil {
		i.limits = NewLimits(s.MemoryBytes, s.CPUMillis)
	}
	i.process = m.m.Prepare(s.Tenant, s.Name, i.limits, s.RequestMillis)
	var err error
	i.system, err = wasip1.New(wasip1.Config{
		Args: s.Args, Env: s.Env,
		Stdin: s.Stdin, Stdout: s.Stdout, Stderr: s.Stderr,
		Mounts: s.Mounts, Dir: s.Dir,
		Network: s.Network, Listen: s.Listen,
		Descriptors: s.Descriptors,
		Logger:      h.log.With("guest", s.Name),
		Blocked:     i.process.Blocked,
		Hold:        i.process.Hold,
		OutputRate:  s.OutputRate,
	})
	if err != nil {
		i.process.Discard()
		return nil, fmt.Errorf("wasm: start %s: %w", s.Name, err)
	}
	if err := h.launch(i); err != nil {
		i.process.Discard()
		return nil, errors.Join(fmt.Errorf("wasm: start %s: %w", s.Name, err), i.system.Close())
	}
	select {
	case <-i.process.Started():
		return i, nil
	case <-ctx.Done():
		i.Kill()
		<-i.done
		return nil, fmt.Errorf("wasm: start %s: %w", s.Name, ctx.Err())
	}
}

// launch starts the instance's goroutine, unless the host is closed.
func (h *Host) launch(i *Instance) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return ErrClosed
	}
	h.instances[i] = struct{}{}
	h.guests.Go(func() {
		h.run(i)
		h.mu.Lock()
		delete(h.instances, i)
		h.mu.Unlock()
		close(i.done)
	})
	return nil
}

// run is the whole life of an instance.
func (h *Host) run(i *Instance) {
	result, err := i.process.Run(func(ctx context.Context) context.Context { return wasip1.With(ctx, i.system) })
	switch {
	case err != nil:
		i.exit = Exit{Code: 128, Reason: Error, Message: err.Error()}
	case result.OOMKilled:
		i.exit = Exit{Code: result.Code, Reason: OOMKilled, Message: result.Trap}
	case result.Code != 0:
		i.exit = Exit{Code: result.Code, Reason: Error, Message: result.Trap}
	default:
		i.exit = Exit{Reason: Completed}
	}
	if err := i.system.Close(); err != nil {
		h.log.Warn("closing what a guest held", "err", err)
	}
}

// Done is closed when the guest has ended and everything that it held is released.
func (i *Instance) Done() <-chan struct{} { return i.done }

// Exit is valid once Done is closed.
func (i *Instance) Exit() Exit { return i.exit }

// Terminate asks the guest to end: its accepts and sleeps fail so that it can finish (preview 1 has no
// signals). Kill ends it wherever it is, within 100 ms. Both return at once.
func (i *Instance) Terminate() { i.system.Terminate() }
func (i *Instance) Kill()      { i.process.Kill() }

// Usage is CPU time since the start and memory held now, of all that share the limits of the instance.
func (i *Instance) Usage() (cpu time.Duration, memory int64) { return i.limits.Usage() }
