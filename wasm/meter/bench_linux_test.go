package meter

import (
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"

	"wherry/wasm/wasmtest"
)

// BenchmarkGuest measures what metering costs guests that compute: "cost-%" is the least processor time metered
// over the least unmetered.
func BenchmarkGuest(b *testing.B) {
	measure(b, "guests/cpu", []string{"sort", "matmul", "crc", "maps", "goroutines", "fib", "primes", "strings", "floats", "copy", "interfaces"})
}

// BenchmarkProgram does so for what real programs do.
func BenchmarkProgram(b *testing.B) {
	measure(b, "guests/programs", []string{"gzip", "json", "regexp", "gofmt", "png", "template", "sha256"})
}

func measure(b *testing.B, guest string, workloads []string) {
	wasm := wasmtest.Build(b, guest)
	cache, err := wazero.NewCompilationCacheWithDir(wasmtest.CacheDir(b))
	if err != nil {
		b.Fatal(err)
	}
	defer cache.Close(b.Context())
	h := newHost(b, wazero.NewRuntimeConfig().WithCompilationCache(cache))
	ctx := experimental.WithCompilationWorkers(b.Context(), 2)
	var compiled [2]wazero.CompiledModule
	for i, wasm := range [][]byte{wasm, rewrite(b, wasm)} {
		if compiled[i], err = h.CompileModule(ctx, wasm); err != nil {
			b.Fatal(err)
		}
	}
	run := func(m wazero.CompiledModule, workload string) time.Duration {
		config := wazero.NewModuleConfig().WithName("").WithArgs("guest", workload).WithStdout(io.Discard)
		begin := threadTime(b)
		if _, err := h.InstantiateModule(ctx, m, config); err != nil {
			b.Fatal(err)
		}
		return threadTime(b) - begin
	}
	for _, name := range workloads {
		b.Run(name, func(b *testing.B) {
			runtime.LockOSThread() // the time is this thread's
			defer runtime.UnlockOSThread()
			best := [2]time.Duration{1 << 60, 1 << 60}
			for b.Loop() {
				for i, m := range compiled {
					best[i] = min(best[i], run(m, name))
				}
			}
			b.ReportMetric(100*(float64(best[1])/float64(best[0])-1), "cost-%")
			b.ReportMetric(best[0].Seconds()*1000, "plain-ms")
		})
	}
}

func threadTime(b *testing.B) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

func BenchmarkRewrite(b *testing.B) {
	wasm := wasmtest.Build(b, "guests/cpu")
	b.SetBytes(int64(len(wasm)))
	for b.Loop() {
		rewrite(b, wasm)
	}
	b.ReportMetric(float64(len(rewrite(b, wasm)))/float64(len(wasm)), "growth")
}
