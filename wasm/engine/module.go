package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"wherry/wasm/artifact"
	"wherry/wasm/meter"
)

// maxModule is how large a module may be, in bytes.
const maxModule = 256 << 20

// compilationWorkers is how many functions of a module are compiled at the same time.
const compilationWorkers = 2

// idle is for how long a module is kept that nobody uses: reading it from the cache again takes a tenth of a second.
const idle = time.Minute

// Module is compiled code. It is shared: whoever gets it from Compile releases it.
type Module struct {
	engine *Engine
	digest string
	users  int           // guarded by engine.mu
	expiry *time.Timer   // set while there are no users; guarded by engine.mu
	idled  int           // how often there were none; guarded by engine.mu
	ready  chan struct{} // closed when what follows is set
	err    error
	code   wazero.CompiledModule
	image  *image // of its memory; nil: empty
	counts int    // how often wazero counts the code
	// tableEntries is what its tables begin with.
	tableEntries int64
	// offsets are where the functions are in the original, after the imported ones.
	offsets  []uint32
	imported int
}

// Compile returns the module with a digest. open is called if it is not in memory; the compiled code may still come
// from the cache. A compilation goes on when ctx ends, as long as others wait for it.
func (e *Engine) Compile(ctx context.Context, digest string, open func() (io.ReadCloser, error)) (*Module, error) {
	m, err := e.module(digest, open)
	if err != nil {
		return nil, err
	}
	select {
	case <-m.ready:
		err = m.err
	case <-ctx.Done():
		err = fmt.Errorf("wasm: compile %s: %w", digest, ctx.Err())
	}
	if err != nil {
		m.Release()
		return nil, err
	}
	return m, nil
}

// module finds the module, or starts to compile it.
func (e *Engine) module(digest string, open func() (io.ReadCloser, error)) (*Module, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, ErrClosed
	}
	if m := e.modules[digest]; m != nil {
		m.users++
		if m.expiry != nil {
			m.expiry.Stop()
			m.expiry = nil
		}
		return m, nil
	}
	// The compilation is a user too, until it is done.
	m := &Module{engine: e, digest: digest, users: 2, ready: make(chan struct{})}
	e.modules[digest] = m
	e.work.Go(func() {
		defer m.Release()
		defer close(m.ready)
		if m.err = m.compile(e.ctx, open); m.err != nil {
			e.forget(m) // so that the next one tries again
		}
	})
	return m, nil
}

func (e *Engine) forget(m *Module) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.modules[m.digest] == m {
		delete(e.modules, m.digest)
	}
}

// Release gives the module back. Processes hold it themselves.
func (m *Module) Release() {
	m.engine.mu.Lock()
	defer m.engine.mu.Unlock()
	if m.users--; m.users > 0 {
		return
	}
	if m.engine.closed || m.engine.modules[m.digest] != m {
		m.free()
		return
	}
	m.idled++
	now := m.idled
	m.expiry = time.AfterFunc(idle, func() { m.expire(now) })
}

// expire frees the module, if it has not been used since it idled for the given time.
func (m *Module) expire(idled int) {
	m.engine.mu.Lock()
	defer m.engine.mu.Unlock()
	if m.expiry != nil && m.idled == idled {
		m.free()
	}
}

// free gives the code back. engine.mu is held, and there are no users.
func (m *Module) free() {
	m.expiry = nil
	if err := m.image.close(); err != nil {
		m.engine.log.Warn("closing the image of a module's memory", "digest", m.digest, "err", err)
	}
	m.image = nil
	if m.engine.modules[m.digest] == m {
		delete(m.engine.modules, m.digest)
	}
	if m.code == nil {
		return
	}
	for range m.counts {
		if err := m.code.Close(context.Background()); err != nil {
			m.engine.log.Warn("closing compiled code", "digest", m.digest, "err", err)
		}
	}
	m.code = nil
}

// hold adds a user.
func (m *Module) hold() {
	m.engine.mu.Lock()
	defer m.engine.mu.Unlock()
	m.users++
}

func (m *Module) compile(ctx context.Context, open func() (io.ReadCloser, error)) error {
	select {
	case m.engine.compilers <- struct{}{}:
		defer func() { <-m.engine.compilers }()
	case <-ctx.Done():
		return fmt.Errorf("wasm: compile %s: %w", m.digest, ctx.Err())
	}
	wasm, err := read(open)
	if err != nil {
		return err
	}
	if err := m.engine.compile(ctx, m, wasm); err != nil {
		return err
	}
	return m.engine.check(m.code)
}

// read returns the bytes of a module.
func read(open func() (io.ReadCloser, error)) ([]byte, error) {
	r, err := open()
	if err != nil {
		return nil, fmt.Errorf("wasm: open the module: %w", err)
	}
	wasm, err := io.ReadAll(io.LimitReader(r, maxModule+1))
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, fmt.Errorf("wasm: read the module: %w", err)
	}
	if len(wasm) > maxModule {
		return nil, fmt.Errorf("%w: it has more than %d MiB", ErrUnsupported, maxModule>>20)
	}
	return wasm, recognize(wasm)
}

// recognize refuses what is not a module, and says what it is.
func recognize(wasm []byte) error {
	switch kind := artifact.Detect(wasm); kind {
	case artifact.Module:
		return nil
	case artifact.Component:
		return fmt.Errorf("%w: it is a WebAssembly component, which cannot be run yet; "+
			"build the program for WASI preview 1 (wasm32-wasip1) without turning it into a component", ErrNotModule)
	case artifact.Text:
		return fmt.Errorf("%w: it is text; a module in the text format has to be assembled (wat2wasm)", ErrNotModule)
	case artifact.Binary:
		return fmt.Errorf("%w: it is an executable for an operating system; build the program for wasm32-wasip1", ErrNotModule)
	case artifact.Empty:
		return fmt.Errorf("%w: it is empty", ErrNotModule)
	default:
		return fmt.Errorf("%w: it begins with % x", ErrNotModule, wasm[:min(len(wasm), 8)])
	}
}

// compile meters and compiles.
func (e *Engine) compile(ctx context.Context, m *Module, wasm []byte) error {
	metered, err := meter.Rewrite(wasm, meter.Options{Rename: e.config.Rename, TakeData: true})
	switch {
	case errors.Is(err, meter.ErrUnsupported):
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrNotModule, err)
	}
	m.tableEntries, m.offsets, m.imported = metered.TableEntries, metered.Offsets, metered.Imported
	if m.image, err = newImage(metered.Data); err != nil {
		return fmt.Errorf("wasm: %w", err)
	}
	return e.translate(ctx, m, metered.Module)
}

// translate has wazero make code of a metered module, or find it in the cache.
func (e *Engine) translate(ctx context.Context, m *Module, metered []byte) (err error) {
	ctx = experimental.WithCompilationWorkers(ctx, compilationWorkers)
	m.code, err = e.base.runtime.CompileModule(ctx, metered)
	m.counts = 1
	if err == nil {
		return nil
	}
	var path *fs.PathError
	switch {
	case errors.As(err, &path):
		// The code is in memory, and counted; only the cache could not be written.
		e.log.Warn("keeping compiled code", "digest", m.digest, "err", err)
		m.counts = 2
	case strings.Contains(err.Error(), "compilationcache") && !e.config.CacheShared:
		e.log.Warn("the cache of compiled code is damaged and will be filled anew", "err", err)
		if err := clearCache(e.config.CacheDir); err != nil {
			return fmt.Errorf("wasm: clear the cache of compiled code: %w", err)
		}
	default:
		return fmt.Errorf("%w: it is not valid: %w", ErrNotModule, err)
	}
	if m.code, err = e.base.runtime.CompileModule(ctx, metered); err != nil {
		return fmt.Errorf("wasm: compile %s: %w", m.digest, err)
	}
	return nil
}

// check refuses modules that could not be started.
func (e *Engine) check(code wazero.CompiledModule) error {
	for _, f := range code.ImportedFunctions() {
		module, name, _ := f.Import()
		host := e.base.runtime.Module(module)
		if host == nil {
			return fmt.Errorf("%w: it imports %s.%s, and there is no module %q here, only %s",
				ErrUnsupported, module, name, module, "wasi_snapshot_preview1")
		}
		def := host.ExportedFunctionDefinitions()[name]
		if def == nil {
			return fmt.Errorf("%w: it imports %s.%s, which is not implemented", ErrUnsupported, module, name)
		}
		if !sameSignature(def, f) {
			return fmt.Errorf("%w: it imports %s.%s with other parameters or results than it has", ErrUnsupported, module, name)
		}
	}
	if _, ok := code.ExportedFunctions()["_start"]; !ok {
		return fmt.Errorf("%w: it has no _start function: it is a library (a reactor); build it as a command", ErrUnsupported)
	}
	return nil
}

func sameSignature(a, b api.FunctionDefinition) bool {
	return slices.Equal(a.ParamTypes(), b.ParamTypes()) && slices.Equal(a.ResultTypes(), b.ResultTypes())
}
