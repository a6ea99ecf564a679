package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"wherry/wasm/meter"
)

var (
	// ErrNotModule says that the bytes are not a core module, what they are, and what to do.
	ErrNotModule = errors.New("wasm: not a module")
	// ErrUnsupported says that the module needs something that this host does not have.
	ErrUnsupported = errors.New("wasm: unsupported")
	// ErrClosed says that the host has been closed.
	ErrClosed = errors.New("wasm: the host is closed")
)

// Names of what executes guests.
const (
	Compiler    = "compiler"
	Interpreter = "interpreter"
)

const features = api.CoreFeaturesV2 | experimental.CoreFeaturesTailCall | experimental.CoreFeaturesExtendedConst

// Config configures an Engine.
type Config struct {
	// CacheDir keeps compiled code over restarts; "": nothing does. It belongs to one Engine at a time
	// and must be writable by nobody else: what is in it is executed.
	CacheDir string
	// CacheShared says that CacheDir is another Engine's: what is in it is used, and nothing in it is removed.
	CacheShared bool
	// Interpreter refuses the compiler, also where there is one.
	Interpreter bool
	// Hosts instantiate the host modules, in every runtime.
	Hosts []func(context.Context, wazero.Runtime) error
	// Rename maps imports to what the host modules call them; may be nil.
	Rename meter.Rename
	Logger *slog.Logger // nil: slog.Default()
}

// Engine compiles modules and runs processes.
type Engine struct {
	config Config
	log    *slog.Logger
	name   string
	cache  wazero.CompilationCache
	base   *tenant // compiles; nothing runs in it
	shares *shares

	ctx       context.Context // ends with Close: waiting for compilations and processes
	cancel    context.CancelFunc
	compilers chan struct{} // a place for each compilation at a time
	work      sync.WaitGroup

	mu      sync.Mutex // guards what follows, and the counts in it
	closed  bool
	modules map[string]*Module
	tenants map[string]*tenant
}

// tenant is a runtime and how many processes are in it. One that is empty is kept for a while: making it is most of what
// the next start costs.
type tenant struct {
	runtime   wazero.Runtime
	processes int
	emptied   time.Time   // when the last process left
	expiry    *time.Timer // set while it is empty
}

// maxEmpty is how many empty runtimes are kept, each of some 100 KiB.
const maxEmpty = 16

// New returns an engine.
func New(c Config) (*Engine, error) {
	e := &Engine{config: c, log: c.Logger, compilers: make(chan struct{}, 2), shares: newShares(),
		modules: map[string]*Module{}, tenants: map[string]*tenant{}}
	if e.log == nil {
		e.log = slog.Default()
	}
	var err error
	if e.cache, err = openCache(c.CacheDir, c.CacheShared); err != nil {
		return nil, fmt.Errorf("wasm: open the cache of compiled code: %w", err)
	}
	e.name = Compiler
	if c.Interpreter || !compilerWorks() {
		e.name = Interpreter
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	if e.base, err = e.newTenant(e.ctx); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// Name says how guests are executed: Compiler or Interpreter.
func (e *Engine) Name() string { return e.name }

// Close waits for compilations and releases everything. All processes must have ended.
func (e *Engine) Close() error {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.cancel()
	e.work.Wait()
	e.freeIdle()
	ctx := context.Background()
	var errs []error
	e.mu.Lock()
	for name := range e.tenants {
		e.closeTenant(name)
	}
	e.mu.Unlock()
	if e.base != nil {
		errs = append(errs, e.base.runtime.Close(ctx))
	}
	return errors.Join(append(errs, e.cache.Close(ctx))...)
}

// freeIdle frees the modules that nobody uses.
func (e *Engine) freeIdle() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, m := range e.modules {
		if m.expiry != nil {
			m.expiry.Stop()
			m.free()
		}
	}
}

// newTenant makes a runtime with the host modules.
func (e *Engine) newTenant(ctx context.Context) (*tenant, error) {
	config := wazero.NewRuntimeConfigCompiler()
	if e.name == Interpreter {
		config = wazero.NewRuntimeConfigInterpreter()
	}
	// Debugging information went away with the metering, and no address fits any more.
	config = config.WithCoreFeatures(features).WithCompilationCache(e.cache).WithDebugInfoEnabled(false)
	t := &tenant{runtime: wazero.NewRuntimeWithConfig(ctx, config)}
	for _, host := range append([]func(context.Context, wazero.Runtime) error{instantiateTick}, e.config.Hosts...) {
		if err := host(ctx, t.runtime); err != nil {
			return nil, errors.Join(fmt.Errorf("wasm: instantiate the host modules: %w", err), t.runtime.Close(ctx))
		}
	}
	return t, nil
}

// enter counts a process of a tenant in, leave out.
func (e *Engine) enter(name string) (*tenant, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, ErrClosed
	}
	t := e.tenants[name]
	if t == nil {
		var err error
		if t, err = e.newTenant(e.ctx); err != nil {
			return nil, err
		}
		e.tenants[name] = t
	}
	t.processes++
	if t.expiry != nil {
		t.expiry.Stop()
		t.expiry = nil
	}
	return t, nil
}

func (e *Engine) leave(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.tenants[name]
	if t.processes--; t.processes > 0 {
		return
	}
	t.emptied = time.Now()
	emptied := t.emptied
	t.expiry = time.AfterFunc(idle, func() { e.expire(name, emptied) })
	e.boundEmpty()
}

// boundEmpty closes the runtime that has been empty longest, if there are too many. The lock is held.
func (e *Engine) boundEmpty() {
	count, oldest := 0, ""
	for name, t := range e.tenants {
		if t.expiry == nil {
			continue
		}
		if count++; count == 1 || t.emptied.Before(e.tenants[oldest].emptied) {
			oldest = name
		}
	}
	if count > maxEmpty {
		e.closeTenant(oldest)
	}
}

// expire closes a runtime that has been empty since then.
func (e *Engine) expire(name string, emptied time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t := e.tenants[name]; t != nil && t.expiry != nil && t.emptied.Equal(emptied) {
		e.closeTenant(name)
	}
}

// closeTenant closes an empty runtime. The lock is held.
func (e *Engine) closeTenant(name string) {
	t := e.tenants[name]
	delete(e.tenants, name)
	if t.expiry != nil {
		t.expiry.Stop()
	}
	if err := t.runtime.Close(context.Background()); err != nil {
		e.log.Warn("closing the runtime of a tenant", "tenant", name, "err", err)
	}
}

// compilerWorks says whether wazero can compile for this machine.
func compilerWorks() (ok bool) {
	defer func() {
		// wazero says it with a panic.
		if recover() != nil {
			ok = false
		}
	}()
	r := wazero.NewRuntimeWithConfig(context.Background(), wazero.NewRuntimeConfigCompiler().WithCoreFeatures(features))
	// Nothing is in it that could fail to close.
	_ = r.Close(context.Background())
	return true
}
