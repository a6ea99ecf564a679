package state_test

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
	"wherry/orchestrator/store"
	"wherry/orchestrator/store/boltstore"
	"wherry/orchestrator/store/memstore"
)

// typicalPod is of the size that pods of Deployments have: 5 KB as JSON.
func typicalPod(i int) *corev1.Pod {
	p := pod(fmt.Sprintf("web-%05d", i))
	p.Labels = map[string]string{"app": "web", "tier": "front", "pod-template-hash": "5d4f8c7b9"}
	p.Annotations = map[string]string{"example.com/config-hash": strings.Repeat("0123456789abcdef", 16)}
	yes := true
	p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-5d4f8c7b9", UID: "7b5ed6b4-8c3c-4ac9-9d2e-2b0d6a1c7f11", Controller: &yes}}
	p.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "controller", Operation: metav1.ManagedFieldsOperationApply, APIVersion: "v1", FieldsType: "FieldsV1",
		FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:labels":{` + strings.Repeat(`"f:app":{},`, 60) + `"f:x":{}}}}`)}}
	c := &p.Spec.Containers[0]
	for v := range 20 {
		c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("SETTING_%d", v), Value: strings.Repeat("v", 30)})
	}
	c.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: quantity.MustParse("100m"), corev1.ResourceMemory: quantity.MustParse("64Mi")}
	return p
}

// filled is a state with n typical pods, written around the pipeline.
func filled(tb testing.TB, n int) (*state.State, store.Store, *resource.Kind) {
	tb.Helper()
	source := run(tb, memstore.New(), state.Options{})
	if _, err := state.Create(context.Background(), source, typicalPod(0)); err != nil {
		tb.Fatal(err)
	}
	first, _ := state.Get[*corev1.Pod](source, "default", "web-00000")
	st := memstore.New()
	for i := range n {
		p := first.DeepCopy()
		p.Name, p.ResourceVersion = fmt.Sprintf("web-%05d", i), ""
		if _, err := st.Commit(context.Background(), store.Op{Key: "/core/pods/default/" + p.Name, Value: encode(tb, p)}); err != nil {
			tb.Fatal(err)
		}
	}
	s := run(tb, st, state.Options{})
	k, _ := s.Kinds().For(first)
	return s, st, k
}

func BenchmarkCreate(b *testing.B) {
	for _, clients := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("boltstore/1 KiB/%d clients", clients), func(b *testing.B) {
			st, err := boltstore.Open(filepath.Join(b.TempDir(), "db"), boltstore.Options{})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() {
				if err := st.Close(); err != nil {
					b.Error(err)
				}
			})
			s := run(b, st, state.Options{})
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range clients {
				wg.Go(func() {
					for {
						i := next.Add(1)
						if i > int64(b.N) {
							return
						}
						cm := configMap(fmt.Sprintf("c%d", i))
						cm.Data["k"] = strings.Repeat("x", 1000)
						if _, err := state.Create(context.Background(), s, cm); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

func BenchmarkList(b *testing.B) {
	s, _, k := filled(b, 10_000)
	ctx := context.Background()
	list := func(b *testing.B, o state.ListOptions, use func(e *state.Entry)) {
		for b.Loop() {
			p, err := s.List(ctx, k, o)
			if err != nil {
				b.Fatal(err)
			}
			for _, e := range p.Entries {
				use(e)
			}
		}
	}
	b.Run("10000 entries", func(b *testing.B) { list(b, state.ListOptions{}, func(*state.Entry) {}) })
	b.Run("10000 messages", func(b *testing.B) { list(b, state.ListOptions{}, func(e *state.Entry) { e.Message() }) })
	b.Run("10000 JSON", func(b *testing.B) { list(b, state.ListOptions{}, func(e *state.Entry) { e.JSON() }) })
	b.Run("500 of 10000 JSON", func(b *testing.B) {
		list(b, state.ListOptions{Limit: 500}, func(e *state.Entry) { e.JSON() })
	})
	b.Run("10000 objects", func(b *testing.B) {
		for b.Loop() {
			state.List[*corev1.Pod](s, state.Selector{})
		}
	})
}

// BenchmarkWatch is the time from before an update until every watcher has its JSON.
func BenchmarkWatch(b *testing.B) {
	for _, watchers := range []int{1, 1000} {
		b.Run(fmt.Sprintf("%d watchers", watchers), func(b *testing.B) {
			s := run(b, memstore.New(), state.Options{})
			ctx, cancel := context.WithCancel(context.Background())
			if _, err := state.Create(ctx, s, configMap("a")); err != nil {
				b.Fatal(err)
			}
			k, _ := s.Kinds().For((*corev1.ConfigMap)(nil))
			var wg, seen sync.WaitGroup
			for range watchers {
				w, err := s.Watch(ctx, k, state.WatchOptions{})
				if err != nil {
					b.Fatal(err)
				}
				wg.Go(func() {
					defer w.Close()
					for {
						events, _, err := w.Next(ctx)
						if err != nil {
							return
						}
						for _, e := range events {
							e.Entry.JSON()
							seen.Done()
						}
					}
				})
			}
			i := 0
			for b.Loop() {
				i++
				seen.Add(watchers)
				_, err := state.Update(ctx, s, "default", "a", func(cm *corev1.ConfigMap) error {
					cm.Data["k"] = fmt.Sprint(i)
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
				seen.Wait()
			}
			cancel()
			wg.Wait()
		})
	}
}

// BenchmarkMemory reports the heap that 10,000 typical pods take, after opening and after
// each was changed three times and listed in between.
func BenchmarkMemory(b *testing.B) {
	ctx := context.Background()
	for b.Loop() {
		before := heap()
		s, st, k := filled(b, 10_000)
		b.ReportMetric(heap()-before, "MB-loaded")
		for range 3 {
			for _, e := range must(s.List(ctx, k, state.ListOptions{})).Entries {
				p := e.Object().(*corev1.Pod).DeepCopy()
				p.Labels = maps.Clone(p.Labels)
				p.ResourceVersion = ""
				p.Status.Message = fmt.Sprint(e.Revision())
				must(st.Commit(ctx, store.Op{Key: "/core/pods/default/" + p.Name, Value: encode(b, p)}))
			}
		}
		if err := st.Compact(ctx, st.Revision()); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(heap()-before, "MB-churned")
		runtime.KeepAlive(s)
	}
}

func heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / (1 << 20)
}

// encode is what state stores for a pod.
func encode(tb testing.TB, p *corev1.Pod) []byte {
	tb.Helper()
	raw, err := p.Marshal()
	if err != nil {
		tb.Fatal(err)
	}
	return slices.Concat([]byte("k8s\x00\x0a\x09\x0a\x02v1\x12\x03Pod\x12"), varint(len(raw)), raw)
}

func varint(n int) (b []byte) {
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}
