package wasm

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"wherry/wasm/wasmtest"
)

// BenchmarkStart measures from Start to the first output of a guest, and reports the memory that an idle one takes.
func BenchmarkStart(b *testing.B) {
	h := newHost(b)
	tool := compile(b, h, "tool", wasmtest.Build(b, "guests/tool"))
	// The first guest of a tenant makes its runtime: measure the others.
	holder, err := h.Start(b.Context(), tool, Spec{Args: []string{"tool", "sleep", "1h"}})
	if err != nil {
		b.Fatal(err)
	}
	defer holder.Kill()
	b.Run("hand-written", func(b *testing.B) {
		m := compile(b, h, "nothing", wasmtest.Nothing())
		for b.Loop() {
			i, err := h.Start(b.Context(), m, Spec{})
			if err != nil {
				b.Fatal(err)
			}
			<-i.Done()
		}
	})
	b.Run("go to exit", func(b *testing.B) {
		for b.Loop() {
			i, err := h.Start(b.Context(), tool, Spec{Args: []string{"tool", "print", "x"}})
			if err != nil {
				b.Fatal(err)
			}
			<-i.Done()
		}
	})
	b.Run("go to exit in an empty tenant", func(b *testing.B) {
		n := 0
		for b.Loop() {
			n++
			i, err := h.Start(b.Context(), tool, Spec{Tenant: fmt.Sprint("tenant", n), Args: []string{"tool", "print", "x"}})
			if err != nil {
				b.Fatal(err)
			}
			<-i.Done()
		}
	})
	b.Run("go", func(b *testing.B) {
		var idle []*Instance
		before := anonymous(b)
		for b.Loop() {
			out := newBuffer()
			i, err := h.Start(b.Context(), tool, Spec{Args: []string{"tool", "sleep", "1h"}, Stdout: out})
			if err != nil {
				b.Fatal(err)
			}
			idle = append(idle, i)
			out.await("sleeping")
		}
		b.ReportMetric(float64(anonymous(b)-before)/float64(len(idle))/1024, "KiB/guest")
		for _, i := range idle {
			i.Kill()
			<-i.Done()
		}
	})
}

// BenchmarkThrottle reports how far from its limit the processor time of a guest is that spins for a second, in percent.
func BenchmarkThrottle(b *testing.B) {
	h := newHost(b)
	spin := compile(b, h, "spin", wasmtest.Endless()["spin"])
	for _, millis := range []int64{5, 20, 100, 500, 900} {
		b.Run(fmt.Sprint(millis, "m"), func(b *testing.B) {
			worst := 0.0
			for b.Loop() {
				i, err := h.Start(b.Context(), spin, Spec{CPUMillis: millis})
				if err != nil {
					b.Fatal(err)
				}
				begin := time.Now()
				time.Sleep(time.Second)
				used, _ := i.Usage()
				wanted := time.Since(begin).Seconds() * float64(millis) / 1000
				if off := 100 * (used.Seconds()/wanted - 1); math.Abs(off) > math.Abs(worst) {
					worst = off
				}
				i.Kill()
				<-i.Done()
			}
			b.ReportMetric(worst, "off-%")
		})
	}
}

// BenchmarkLoad measures how long a module takes that is in the cache but not in memory.
func BenchmarkLoad(b *testing.B) {
	wasm := wasmtest.Build(b, "guests/tool")
	for b.Loop() {
		h := newHost(b)
		begin := time.Now()
		compile(b, h, "tool", wasm)
		b.ReportMetric(time.Since(begin).Seconds()*1000, "ms/load")
	}
}

// anonymous returns the memory of this process that is not backed by files, in bytes.
func anonymous(b *testing.B) int64 {
	runtime.GC()
	rollup, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		b.Skip(err)
	}
	for line := range strings.Lines(string(rollup)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "Anonymous: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	b.Skip("the kernel does not say")
	return 0
}
