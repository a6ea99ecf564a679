package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"wherry/wasm/wasmtest"
)

// signals is a host module with the little of WASI that the guests of wasmtest use: sched_yield tells that the guest runs.
type signals struct{ running chan struct{} }

func (s signals) instantiate(ctx context.Context, r wazero.Runtime) error {
	yield := api.GoModuleFunc(func(_ context.Context, _ api.Module, stack []uint64) {
		select {
		case s.running <- struct{}{}:
		default:
		}
		stack[0] = 0
	})
	_, err := r.NewHostModuleBuilder("wasi_snapshot_preview1").NewFunctionBuilder().
		WithGoModuleFunction(yield, nil, []api.ValueType{api.ValueTypeI32}).Export("sched_yield").Instantiate(ctx)
	return err
}

func newEngine(t testing.TB, c Config) (*Engine, signals) {
	t.Helper()
	s := signals{make(chan struct{}, 1)}
	c.Hosts = append(c.Hosts, s.instantiate)
	e, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e, s
}

func compile(t testing.TB, e *Engine, wasm []byte) *Module {
	t.Helper()
	m, err := e.Compile(t.Context(), string(wasm), opener(wasm))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Release)
	return m
}

func opener(b []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}

func same(ctx context.Context) context.Context { return ctx }

func run(t testing.TB, m *Module, memoryBytes int64) Result {
	t.Helper()
	result, err := m.Prepare("tenant", "test", NewLimits(memoryBytes, 0), 0).Run(same)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func TestKillEndsEveryGuest(t *testing.T) {
	for _, interpreter := range []bool{false, true} {
		e, s := newEngine(t, Config{Interpreter: interpreter})
		for name, wasm := range wasmtest.Endless() {
			t.Run(e.Name()+"/"+name, func(t *testing.T) {
				p := compile(t, e, wasm).Prepare("tenant", name, NewLimits(0, 0), 0)
				var result Result
				var err error
				var wg sync.WaitGroup
				wg.Go(func() { result, err = p.Run(same) })
				<-s.running
				begin := time.Now()
				p.Kill()
				wg.Wait()
				took := time.Since(begin)
				if err != nil || result.Code != 137 || result.OOMKilled {
					t.Errorf("ended with %+v, %v", result, err)
				}
				if took > patience {
					t.Errorf("took %v to end", took)
				}
			})
		}
	}
}

// patience is how long a kill may take on a machine that is busy with other tests. BenchmarkKill measures it on a quiet one.
const patience = 5 * time.Second

// BenchmarkKill reports the longest time that the end of a guest took, with which the promise is 100 ms.
func BenchmarkKill(b *testing.B) {
	e, s := newEngine(b, Config{})
	for name, wasm := range wasmtest.Endless() {
		b.Run(name, func(b *testing.B) {
			m := compile(b, e, wasm)
			var longest time.Duration
			for b.Loop() {
				p := m.Prepare("tenant", name, NewLimits(0, 0), 0)
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					if _, err := p.Run(same); err != nil {
						b.Error(err)
					}
				}()
				<-s.running
				begin := time.Now()
				p.Kill()
				<-ended
				longest = max(longest, time.Since(begin))
			}
			b.ReportMetric(longest.Seconds()*1000, "longest-ms")
		})
	}
}

func TestKillBeforeRun(t *testing.T) {
	e, _ := newEngine(t, Config{})
	p := compile(t, e, wasmtest.Endless()["spin"]).Prepare("tenant", "test", NewLimits(0, 0), 0)
	p.Kill()
	if result, err := p.Run(same); err != nil || result.Code != 137 {
		t.Errorf("ended with %+v, %v", result, err)
	}
}

// large is a guest with so many pages of memory that writes its last byte but some.
func large(pages uint32) []byte {
	last := wasmtest.S32(int64(int32(pages<<16 - 8)))
	return wasmtest.Module{Name: "large", Memory: &[2]uint32{pages, pages}, Funcs: []wasmtest.Func{
		{Export: "_start", Code: wasmtest.Code(0x41, last, 0x41, 1, 0x36, 2, 0)}, // i32.const, i32.const, i32.store
	}}.Bytes()
}

func TestGuestsEnd(t *testing.T) {
	e, _ := newEngine(t, Config{})
	tests := map[string]struct {
		wasm  []byte
		limit int64
		want  Result
		trap  string
	}{
		"nothing":      {wasm: wasmtest.Nothing()},
		"trap":         {wasm: wasmtest.Trap(), want: Result{Code: 134}, trap: ".fails()"},
		"recursion":    {wasm: wasmtest.Recursion(), want: Result{Code: 134}, trap: "stack overflow"},
		"memory":       {wasm: wasmtest.Hungry(), limit: 8 << 20, want: Result{Code: 137, OOMKilled: true}, trap: "8192 KiB"},
		"memory most":  {wasm: large(65535)},
		"memory given": {wasm: large(65535), limit: 5 << 30},
		"memory more":  {wasm: large(65536), want: Result{Code: 137, OOMKilled: true}, trap: "4194240 KiB"},
		"tables":       {wasm: tables(100_000), limit: 256 << 10, want: Result{Code: 137, OOMKilled: true}, trap: "256 KiB"},
		"table grows":  {wasm: growing(), limit: 256 << 10, want: Result{Code: 137, OOMKilled: true}, trap: "256 KiB"},
		"table most":   {wasm: growing(), want: Result{Code: 134}, trap: "unreachable"},
		"stack":        {wasm: wasmtest.Recursion(), limit: 1 << 20, want: Result{Code: 137, OOMKilled: true}, trap: "1024 KiB"},
		"memory less":  {wasm: wasmtest.Nothing(), limit: 1, want: Result{Code: 137, OOMKilled: true}, trap: "64 KiB"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := run(t, compile(t, e, test.wasm), test.limit)
			if !strings.Contains(got.Trap, test.trap) || (test.trap == "") != (got.Trap == "") {
				t.Errorf("trap: %s", got.Trap)
			}
			got.Trap = ""
			if got != test.want {
				t.Errorf("ended with %+v", got)
			}
		})
	}
}

// TestTrapsTellTheOriginal: names, indices and offsets in a trap are those of the module as it was.
func TestTrapsTellTheOriginal(t *testing.T) {
	e, _ := newEngine(t, Config{})
	fails := wasmtest.Func{Export: "fails", Code: []byte{0}} // unreachable
	yield := wasmtest.Import{Module: "wasi_snapshot_preview1", Name: "sched_yield", Results: []byte{wasmtest.I32}}
	for _, name := range []string{"named", ""} {
		wasm := wasmtest.Module{Name: name, Imports: []wasmtest.Import{yield}, Funcs: []wasmtest.Func{
			{Export: "_start", Code: wasmtest.Code(0x10, 2)}, fails, // call
		}}.Bytes()
		at := bytes.LastIndex(wasm, []byte{3, 0, 0, 0x0b}) + 1 // after its size: no locals, unreachable, end
		want := fmt.Sprintf("named.fails() [func 2 at %#x]\n\tnamed._start() [func 1 at %#x]", at, at-5)
		if name == "" {
			want = fmt.Sprintf(".$2() [func 2 at %#x]\n\t.$1() [func 1 at %#x]", at, at-5)
		}
		if got := run(t, compile(t, e, wasm), 0); !strings.Contains(got.Trap, want) {
			t.Errorf("%s, want %s", got.Trap, want)
		}
	}
}

// tables is a guest with a table of so many entries.
func tables(entries int) []byte {
	return wasmtest.Module{Table: make([]uint32, entries), Funcs: []wasmtest.Func{{Export: "_start"}}}.Bytes()
}

// growing is a guest that grows its table by a thousand entries until it cannot, and then traps.
func growing() []byte {
	return wasmtest.Module{Table: []uint32{0}, Funcs: []wasmtest.Func{{Export: "_start", Code: wasmtest.Code(
		0x03, 0x40, 0xd0, 0x70, 0x41, wasmtest.S32(1000), 0xfc, 15, 0, // loop, ref.null func, i32.const, table.grow
		0x41, wasmtest.S32(-1), 0x47, 0x0d, 0, 0x0b, 0x00, // i32.const, i32.ne, br_if, end, unreachable
	)}}}.Bytes()
}

// TestMemoryBegins has a guest that traps unless its memory begins as its data says, and then changes it.
func TestMemoryBegins(t *testing.T) {
	e, _ := newEngine(t, Config{})
	m := compile(t, e, wasmtest.Changes())
	if m.image == nil {
		t.Fatal("the data was not taken out")
	}
	ways := map[string]func(*memory){
		"as usual":          func(*memory) {},
		"without addresses": func(p *memory) { p.fallback = true },
		"without files":     func(p *memory) { p.image = &image{size: m.image.size, bytes: content(t, m.image)} },
		"without both":      func(p *memory) { p.fallback, p.image = true, &image{size: m.image.size, bytes: content(t, m.image)} },
	}
	for name, change := range ways {
		for range 2 {
			p := m.Prepare("tenant", "test", NewLimits(0, 0), 0)
			change(p.memory)
			if result, err := p.Run(same); err != nil || result != (Result{}) {
				t.Errorf("%s: ended with %+v, %v", name, result, err)
			}
		}
	}
}

func content(t *testing.T, i *image) []byte {
	t.Helper()
	b := make([]byte, i.size)
	if err := i.copy(b); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCompileRefuses(t *testing.T) {
	e, _ := newEngine(t, Config{})
	start := wasmtest.Func{Export: "_start"}
	imports := func(module, name string, params ...byte) []byte {
		return wasmtest.Module{Imports: []wasmtest.Import{{Module: module, Name: name, Params: params}}, Funcs: []wasmtest.Func{start}}.Bytes()
	}
	tests := map[string]struct {
		wasm []byte
		want error
		text string
	}{
		"empty":     {nil, ErrNotModule, "empty"},
		"component": {[]byte("\x00asm\x0d\x00\x01\x00"), ErrNotModule, "component"},
		"text":      {[]byte("(module)"), ErrNotModule, "text"},
		"ELF":       {[]byte("\x7fELF\x02\x01\x01\x00"), ErrNotModule, "executable"},
		"garbage":   {[]byte("\x00asm\x01\x00\x00\x00\x01"), ErrNotModule, "malformed"},
		"invalid":   {wasmtest.Module{Funcs: []wasmtest.Func{{Export: "_start", Code: []byte{0x6a}}}}.Bytes(), ErrNotModule, "not valid"},
		"module":    {imports("env", "log"), ErrUnsupported, "env.log"},
		"function":  {imports("wasi_snapshot_preview1", "what"), ErrUnsupported, "wasi_snapshot_preview1.what"},
		"signature": {imports("wasi_snapshot_preview1", "sched_yield", wasmtest.I32), ErrUnsupported, "parameters"},
		"ours":      {imports("wherry", "tick"), ErrUnsupported, "wherry.tick"},
		"reactor":   {wasmtest.Module{Funcs: []wasmtest.Func{{Export: "_initialize"}}}.Bytes(), ErrUnsupported, "_start"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := e.Compile(t.Context(), name, opener(test.wasm))
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("error %v, want %v with %q", err, test.want, test.text)
			}
		})
	}
	if len(e.modules) != 0 {
		t.Errorf("%d modules are left", len(e.modules))
	}
}

func TestCompileOnce(t *testing.T) {
	e, _ := newEngine(t, Config{})
	opened := 0 // the engine opens one at a time
	open := func() (io.ReadCloser, error) {
		opened++
		return opener(wasmtest.Nothing())()
	}
	var wg sync.WaitGroup
	modules := make(chan *Module, 8)
	for range cap(modules) {
		wg.Go(func() {
			m, err := e.Compile(t.Context(), "one", open)
			if err != nil {
				t.Error(err)
			}
			modules <- m
		})
	}
	wg.Wait()
	close(modules)
	var last *Module
	for m := range modules {
		if last != nil {
			if m != last {
				t.Error("two modules of one digest")
			}
			m.Release()
		}
		last = m
	}
	if opened != 1 || len(e.modules) != 1 {
		t.Errorf("opened %d times, %d modules", opened, len(e.modules))
	}
	last.Release()
}

func TestModulesAreKeptForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _ := newEngine(t, Config{Interpreter: true})
		opened := 0
		open := func() (io.ReadCloser, error) {
			opened++
			return opener(wasmtest.Nothing())()
		}
		use := func() *Module {
			m, err := e.Compile(t.Context(), "one", open)
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
		use().Release()
		time.Sleep(idle - time.Second)
		m := use()
		time.Sleep(2 * idle)
		m.Release()
		if use().Release(); opened != 1 {
			t.Errorf("opened %d times", opened)
		}
		time.Sleep(idle + time.Second)
		if use().Release(); opened != 2 {
			t.Errorf("opened %d times after a while", opened)
		}
	})
}

func TestCPULimit(t *testing.T) {
	for _, millis := range []int64{5, 25, 100, 250, 900} {
		synctest.Test(t, func(t *testing.T) {
			c := newClock(NewLimits(0, millis))
			c.now = func() moment { return moment{time: time.Now()} }
			c.start()
			begin := time.Now()
			work := time.Duration(millis) * time.Millisecond // a second's share, in slices of 0.7 ms
			for done := time.Duration(0); done < work; done += 700 * time.Microsecond {
				time.Sleep(700 * time.Microsecond)
				now, _ := c.pause()
				for wait := c.over(now.time); wait > 0; wait = c.over(time.Now()) {
					sleep(wait, nil)
				}
				c.resume()
			}
			if took := time.Since(begin); took < 900*time.Millisecond || took > 1100*time.Millisecond {
				t.Errorf("%d m: a second's work took %v", millis, took)
			}
			stop := make(chan struct{})
			close(stop)
			sleep(time.Hour, stop) // returns
		})
	}
}

func TestCompileStopsWaiting(t *testing.T) {
	e, _ := newEngine(t, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	proceed := make(chan struct{})
	open := func() (io.ReadCloser, error) {
		cancel()
		<-proceed
		return opener(wasmtest.Nothing())()
	}
	if _, err := e.Compile(ctx, "slow", open); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	close(proceed)
	m, err := e.Compile(t.Context(), "slow", opener(wasmtest.Nothing()))
	if err != nil {
		t.Fatal(err)
	}
	m.Release()
}

func TestTenantsHaveTheirOwnRuntime(t *testing.T) {
	e, s := newEngine(t, Config{})
	m := compile(t, e, wasmtest.Endless()["calls of the host"])
	var wg sync.WaitGroup
	var processes []*Process
	for _, tenant := range []string{"a", "b", "a"} {
		p := m.Prepare(tenant, "test", NewLimits(0, 0), 0)
		processes = append(processes, p)
		wg.Go(func() { p.Run(same) })
	}
	for range 10 {
		<-s.running
	}
	for _, p := range processes {
		p.Kill()
	}
	wg.Wait()
	if len(e.tenants) != 2 {
		t.Errorf("there are %d runtimes", len(e.tenants))
	}
}

func TestEmptyRuntimesAreKeptForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _ := newEngine(t, Config{Interpreter: true})
		m, err := e.Compile(t.Context(), "one", opener(wasmtest.Nothing()))
		if err != nil {
			t.Fatal(err)
		}
		defer m.Release()
		held := func() map[string]*tenant {
			e.mu.Lock()
			defer e.mu.Unlock()
			return maps.Clone(e.tenants)
		}
		use := func(tenant string) *tenant {
			if _, err := m.Prepare(tenant, "test", NewLimits(0, 0), 0).Run(same); err != nil {
				t.Fatal(err)
			}
			return held()[tenant]
		}
		first := use("a")
		time.Sleep(idle - time.Second)
		if use("a") != first {
			t.Error("it was made anew")
		}
		time.Sleep(idle - time.Second)
		if held()["a"] != first {
			t.Error("it was closed though it had been used")
		}
		time.Sleep(2 * time.Second)
		if len(held()) != 0 {
			t.Errorf("%d are left after a while", len(held()))
		}
		for i := range 2 * maxEmpty {
			use(strings.Repeat("x", i))
			time.Sleep(time.Millisecond)
		}
		if len(held()) != maxEmpty || held()[strings.Repeat("x", maxEmpty-1)] != nil {
			t.Errorf("%d are kept", len(held()))
		}
	})
}

func TestCacheSurvives(t *testing.T) {
	dir := t.TempDir()
	files := func() (list []string) {
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				list = append(list, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	use := func() {
		e, _ := newEngine(t, Config{CacheDir: dir})
		if got := run(t, compile(t, e, wasmtest.Nothing()), 0); got.Code != 0 {
			t.Errorf("ended with %+v", got)
		}
	}
	use()
	first := files()
	if len(first) != 1 {
		t.Fatalf("%d files in the cache", len(first))
	}
	use()
	for _, damage := range []string{"", "WAZEVO", strings.Repeat("x", 1000)} {
		if err := os.WriteFile(first[0], []byte(damage), 0o600); err != nil {
			t.Fatal(err)
		}
		use()
	}
	if err := pruneCache(dir, 1); err != nil || len(files()) != 0 {
		t.Errorf("after pruning: %v, %v", files(), err)
	}
}
