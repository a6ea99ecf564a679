package wasip1

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/sys"
)

// guests are the programs under testdata/guest: built once, when a test first asks for one, and run in one runtime.
type guests struct {
	dir      string
	build    func() error
	cache    wazero.CompilationCache
	runtime  wazero.Runtime
	compiled map[string]wazero.CompiledModule
}

var built guests

func TestMain(m *testing.M) {
	code, err := testMain(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func testMain(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "wasip1")
	if err != nil {
		return 0, err
	}
	built.dir = dir
	built.build = sync.OnceValue(built.make)
	code := m.Run()
	if built.runtime != nil {
		err = errors.Join(built.runtime.Close(context.Background()), built.cache.Close(context.Background()))
	}
	return code, errors.Join(err, os.RemoveAll(dir))
}

func (g *guests) make() error {
	mains, err := filepath.Glob("testdata/guest/*/main.go") // wildcards of the go command pass over testdata
	if err != nil {
		return err
	}
	build := []string{"build", "-ldflags=-s -w", "-o", g.dir + string(filepath.Separator)}
	// The cache belongs to a version of wazero; a test binary does not know which and says "dev".
	compile := []string{"run", "-race=false", "-ldflags=-X github.com/tetratelabs/wazero/internal/version.version=dev",
		"./testdata/compile", filepath.Join(g.dir, "cache")}
	for _, main := range mains {
		dir := filepath.Dir(main)
		build = append(build, "./"+filepath.ToSlash(dir))
		compile = append(compile, filepath.Join(g.dir, filepath.Base(dir)))
	}
	if err := goCommand(build, "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0"); err != nil {
		return err
	}
	if err := goCommand(compile); err != nil {
		return err
	}
	if g.cache, err = wazero.NewCompilationCacheWithDir(filepath.Join(g.dir, "cache")); err != nil {
		return err
	}
	ctx := context.Background()
	g.runtime = wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithCompilationCache(g.cache))
	g.compiled = map[string]wazero.CompiledModule{}
	return Instantiate(ctx, g.runtime)
}

func goCommand(args []string, env ...string) error {
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", args[0], err, out)
	}
	return nil
}

// module returns a guest.
func (g *guests) module(t testing.TB, name string) wazero.CompiledModule {
	t.Helper()
	if err := g.build(); err != nil {
		t.Fatal(err)
	}
	if m := g.compiled[name]; m != nil {
		return m
	}
	b, err := os.ReadFile(filepath.Join(g.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	m, err := g.runtime.CompileModule(context.Background(), b)
	if err != nil {
		t.Fatal(err)
	}
	g.compiled[name] = m
	return m
}

// running is a guest that was started.
type running struct {
	sys    *System
	out    *lockedBuffer
	cancel context.CancelFunc
	done   chan struct{}
	code   uint32
	err    error
}

// start runs a guest. What is missing in c is filled in; the guest is gone when the test ends.
func start(t testing.TB, name string, c Config) *running {
	t.Helper()
	return startModule(t, name, built.module(t, name), c)
}

// startModule is start for a bubble: building the guests, which uses processes, comes before it.
func startModule(t testing.TB, name string, module wazero.CompiledModule, c Config) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{out: &lockedBuffer{}, cancel: cancel, done: make(chan struct{})}
	c.Args = append([]string{name}, c.Args...)
	if c.Stdout == nil {
		c.Stdout, c.Stderr = r.out, r.out
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	r.sys = s
	go func() {
		defer close(r.done)
		var mod api.Module
		mod, r.err = built.runtime.InstantiateModule(With(ctx, s), module, wazero.NewModuleConfig().WithName(""))
		var exit *sys.ExitError
		if errors.As(r.err, &exit) {
			r.code, r.err = exit.ExitCode(), nil
		} else if r.err == nil {
			r.err = mod.Close(ctx)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-r.done
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// wait returns the exit code and the output.
func (r *running) wait(t testing.TB) (uint32, string) {
	t.Helper()
	<-r.done
	if r.err != nil {
		t.Fatalf("guest: %v\n%s", r.err, r.out)
	}
	return r.code, r.out.String()
}

// lockedBuffer is a bytes.Buffer that another goroutine may read.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
