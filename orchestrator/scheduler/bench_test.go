package scheduler_test

import (
	"context"
	"fmt"
	"testing"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"wherry/orchestrator/resource"
	"wherry/orchestrator/scheduler"
	"wherry/orchestrator/state"
	"wherry/orchestrator/store/memstore"
)

// BenchmarkScheduler is the time in which 1,000 waiting pods are bound to 100 nodes.
func BenchmarkScheduler(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		ctx, cancel := context.WithCancel(context.Background())
		g, ctx := errgroup.WithContext(ctx)
		s, err := state.Open(ctx, memstore.New(), state.Options{Kinds: resource.New()})
		if err != nil {
			b.Fatal(err)
		}
		g.Go(func() error { return s.Run(ctx) })
		for i := range 100 {
			addNode(b, s, node(fmt.Sprintf("n%03d", i), "4"))
		}
		for i := range 1000 {
			if _, err := state.Create(ctx, s, pod(fmt.Sprintf("p%04d", i), "100m")); err != nil {
				b.Fatal(err)
			}
		}
		kind, _ := s.Kinds().For((*corev1.Pod)(nil))
		w, err := s.Watch(ctx, kind, state.WatchOptions{})
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		sched := scheduler.New(scheduler.Config{State: s})
		g.Go(func() error { return sched.Run(ctx) })
		for bound := 0; bound < 1000; {
			events, _, err := w.Next(ctx)
			if err != nil {
				b.Fatal(err)
			}
			bound += len(events)
		}
		b.StopTimer()
		w.Close()
		cancel()
		if err := g.Wait(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// addNode creates a node with its status.
func addNode(tb testing.TB, s *state.State, n *corev1.Node) {
	tb.Helper()
	ctx := context.Background()
	if _, err := state.Create(ctx, s, n); err != nil {
		tb.Fatal(err)
	}
	// A new Node starts without status, as a client cannot write it there.
	if _, err := state.UpdateStatus(ctx, s, "", n.Name, func(live *corev1.Node) error {
		live.Status = *n.Status.DeepCopy()
		return nil
	}); err != nil {
		tb.Fatal(err)
	}
}
