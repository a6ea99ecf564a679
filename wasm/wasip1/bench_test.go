package wasip1

import (
	"fmt"
	"runtime"
	"testing"
	"time"
)

func BenchmarkClockTimeGet(b *testing.B) {
	c := newCaller(b, Config{})
	stack := []uint64{clockMonotonic, 0, 16}
	f := function{"clock_time_get", "iIi", clockTimeGet}
	for b.Loop() {
		stack[0] = clockMonotonic
		f.call(c.ctx, c.mod, stack)
	}
}

// BenchmarkPoll looks at a hundred descriptors of which one is ready.
func BenchmarkPoll(b *testing.B) {
	c := newCaller(b, Config{Network: streams{newMemNetwork()}})
	var subs []byte
	for range 99 {
		subs = append(subs, fdSub(1, eventRead, c.socket(familyInet, socketStream))...)
	}
	subs = append(subs, fdSub(2, eventWrite, 1)...)
	in, out := c.put(subs), c.alloc(100*eventSize)
	stack := make([]uint64, 4)
	f := function{"poll_oneoff", "iiii", pollOneoff}
	for b.Loop() {
		copy(stack, []uint64{in, out, 100, 8})
		f.call(c.ctx, c.mod, stack)
	}
}

// BenchmarkHTTP asks the http guest over net.Pipe: one keep-alive client, then 64 at once.
func BenchmarkHTTP(b *testing.B) {
	for _, clients := range []int{1, 64} {
		b.Run(fmt.Sprint("clients=", clients), func(b *testing.B) {
			s := startServer(b, built.module(b, "http"))
			if _, err := s.get("/hello"); err != nil {
				b.Fatal(err)
			}
			b.SetParallelism(max(1, clients/runtime.GOMAXPROCS(0)))
			b.ResetTimer()
			if clients == 1 {
				for range b.N {
					if _, err := s.get("/hello?name=bench"); err != nil {
						b.Fatal(err)
					}
				}
			} else {
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if _, err := s.get("/hello?name=bench"); err != nil {
							b.Error(err)
						}
					}
				})
			}
			s.client.CloseIdleConnections()
		})
	}
}

// BenchmarkStart is from New to the end of a guest that does nothing but sleep 0 s.
func BenchmarkStart(b *testing.B) {
	module := built.module(b, "sleep")
	for b.Loop() {
		r := startModule(b, "sleep", module, Config{Args: []string{time.Duration(0).String()}})
		if code, out := r.wait(b); code != 0 {
			b.Fatalf("exit %d, %s", code, out)
		}
	}
}
