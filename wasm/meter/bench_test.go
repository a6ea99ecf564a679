package meter

import (
	"bytes"
	"fmt"
	"io"
	"sort"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"

	"wherry/wasm/wasmtest"
)

// BenchmarkGuest measures what metering costs a guest that computes: the metric "cost-%" is the best time
// metered over the best time unmetered.
func BenchmarkGuest(b *testing.B) {
	wasm := wasmtest.Build(b, "guests/cpu")
	h := newHost(b, wazero.NewRuntimeConfig())
	ctx := experimental.WithCompilationWorkers(b.Context(), 2)
	compile := func(wasm []byte) wazero.CompiledModule {
		compiled, err := h.CompileModule(ctx, wasm)
		if err != nil {
			b.Fatal(err)
		}
		return compiled
	}
	run := func(compiled wazero.CompiledModule, best map[string]int) {
		var out bytes.Buffer
		config := wazero.NewModuleConfig().WithName("").WithArgs("cpu").WithStdout(io.Discard).WithStderr(&out).
			WithSysWalltime().WithSysNanotime()
		if _, err := h.InstantiateModule(ctx, compiled, config); err != nil {
			b.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			var name string
			var us int
			fmt.Sscan(line, &name, &us)
			if best[name] == 0 || us < best[name] {
				best[name] = us
			}
		}
	}
	before, after := compile(wasm), compile(rewrite(b, wasm))
	for b.Loop() {
		plain, metered := map[string]int{}, map[string]int{}
		for range 8 {
			run(before, plain)
			run(after, metered)
		}
		var names []string
		for name := range plain {
			names = append(names, name)
		}
		sort.Strings(names)
		sum := 0.0
		for _, name := range names {
			cost := 100 * (float64(metered[name])/float64(plain[name]) - 1)
			sum += cost
			b.Logf("%-10s %8d us, metered %8d us: %+.1f %%", name, plain[name], metered[name], cost)
		}
		b.ReportMetric(sum/float64(len(names)), "cost-%")
	}
}

func BenchmarkRewrite(b *testing.B) {
	wasm := wasmtest.Build(b, "guests/cpu")
	b.SetBytes(int64(len(wasm)))
	for b.Loop() {
		if _, err := Rewrite(wasm, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(rewrite(b, wasm)))/float64(len(wasm)), "growth")
}
