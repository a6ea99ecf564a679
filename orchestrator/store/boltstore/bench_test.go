package boltstore_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wherry/orchestrator/store"
	"wherry/orchestrator/store/boltstore"
)

// BenchmarkCreate is one new key of 1 KiB per operation.
func BenchmarkCreate(b *testing.B) {
	for _, writers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "store.db")
			s := open(b, path, boltstore.Options{})
			spread(b, writers, func(n int64) error {
				_, err := s.Commit(context.Background(), store.Op{Key: fmt.Sprintf("/core/configmaps/default/c%08d", n), Value: make([]byte, 1<<10), If: store.At(0)})
				return err
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "creates/s")
			if info, err := os.Stat(path); err == nil {
				b.ReportMetric(float64(info.Size())/float64(b.N), "file-B/op")
			}
		})
	}
}

// BenchmarkUpdate rewrites 10,000 keys of 1 KiB, with a history to sweep.
func BenchmarkUpdate(b *testing.B) {
	const keys = 10_000
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "store.db")
			s := open(b, path, boltstore.Options{HistoryEvents: 1000})
			fill(b, s, keys)
			b.ResetTimer()
			spread(b, writers, func(n int64) error {
				_, err := s.Commit(context.Background(), store.Op{Key: fmt.Sprintf("k/%08d", n%keys), Value: make([]byte, 1<<10)})
				return err
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
			if info, err := os.Stat(path); err == nil {
				b.ReportMetric(float64(info.Size())/(1<<20), "file-MiB")
			}
		})
	}
}

// BenchmarkWatch is one durable commit per operation, seen by every watcher.
func BenchmarkWatch(b *testing.B) {
	for _, watchers := range []int{1, 1000} {
		b.Run(fmt.Sprintf("watchers=%d", watchers), func(b *testing.B) {
			s := open(b, filepath.Join(b.TempDir(), "store.db"), boltstore.Options{})
			var seen sync.WaitGroup
			var end sync.WaitGroup
			for range watchers {
				w, err := s.Watch(context.Background(), "k/", 0)
				if err != nil {
					b.Fatal(err)
				}
				end.Go(func() {
					for n := 0; n < b.N; {
						events, _, err := w.Next(context.Background())
						if err != nil {
							b.Error(err)
							return
						}
						n += len(events)
						for range events {
							seen.Done()
						}
					}
				})
			}
			var latency time.Duration
			b.ResetTimer()
			for range b.N {
				seen.Add(watchers)
				commit(b, s, put("k/a", "1"))
				answered := time.Now()
				seen.Wait()
				latency += time.Since(answered)
			}
			b.ReportMetric(float64(latency.Microseconds())/float64(b.N), "us-to-last-watcher")
			end.Wait()
		})
	}
}

func BenchmarkGet(b *testing.B) {
	s := open(b, filepath.Join(b.TempDir(), "store.db"), boltstore.Options{})
	fill(b, s, 10_000)
	b.ResetTimer()
	for n := range b.N {
		if _, err := s.Get(context.Background(), fmt.Sprintf("k/%08d", n%10_000)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen reads a file of 100,000 keys of 1 KiB.
func BenchmarkOpen(b *testing.B) {
	path := filepath.Join(b.TempDir(), "store.db")
	s, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		b.Fatal(err)
	}
	fill(b, s, 100_000)
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s, err := boltstore.Open(path, boltstore.Options{})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func fill(b *testing.B, s store.Store, keys int) {
	b.Helper()
	ops := make([]store.Op, 0, 500)
	for n := range keys {
		ops = append(ops, store.Op{Key: fmt.Sprintf("k/%08d", n), Value: make([]byte, 1<<10)})
		if len(ops) == cap(ops) || n == keys-1 {
			commit(b, s, ops...)
			ops = ops[:0]
		}
	}
}

// spread runs b.N operations on so many goroutines.
func spread(b *testing.B, goroutines int, do func(n int64) error) {
	b.Helper()
	var next atomic.Int64
	var group sync.WaitGroup
	for range goroutines {
		group.Go(func() {
			for n := next.Add(1) - 1; n < int64(b.N); n = next.Add(1) - 1 {
				if err := do(n); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
}
