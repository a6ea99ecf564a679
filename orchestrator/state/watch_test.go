package state_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"

	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
	"wherry/orchestrator/store"
	"wherry/orchestrator/store/memstore"
)

// watching is a watch of ConfigMaps and what it has handed out.
type watching struct {
	*harness
	w *state.Watch
}

func (h *harness) watch(o state.WatchOptions) *watching {
	h.Helper()
	w, err := h.Watch(h.ctx, h.configs(), o)
	if err != nil {
		h.Fatalf("watch: %v", err)
	}
	h.Cleanup(w.Close)
	return &watching{h, w}
}

// expect reads as many events as are wanted, each as "TYPE name value".
func (w *watching) expect(want ...string) {
	w.Helper()
	var got []string
	for len(got) < len(want) {
		events, revision, err := w.w.Next(w.ctx)
		if err != nil {
			w.Fatalf("after %q: %v", got, err)
		}
		for _, e := range events {
			if e.Revision > revision {
				w.Errorf("event of revision %d in a batch up to %d", e.Revision, revision)
			}
			got = append(got, w.describe(e))
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		w.Error(d)
	}
}

func (w *watching) describe(e state.Event) string {
	if e.Type == state.Bookmark {
		return "BOOKMARK"
	}
	cm := e.Entry.Object().(*corev1.ConfigMap)
	if cm.ResourceVersion != strconv.FormatUint(e.Revision, 10) {
		w.Errorf("%s of revision %d shows resourceVersion %s", e.Type, e.Revision, cm.ResourceVersion)
	}
	return fmt.Sprintf("%s %s %s", e.Type, cm.Name, cm.Data["k"])
}

func TestWatchSeesChangesInOrder(t *testing.T) {
	overStores(t, func(h *harness) {
		h.create(configMap("before"))
		w := h.watch(state.WatchOptions{})
		h.create(pod("other-kind"))
		h.create(configMap("a"))
		h.set("a", "w")
		h.delete(configMap("a"), state.DeleteOptions{})
		w.expect("ADDED a v", "MODIFIED a w", "DELETED a w")
	})
}

func TestWatchInitial(t *testing.T) {
	overStores(t, func(h *harness) {
		w := h.watch(state.WatchOptions{Initial: true})
		w.expect("BOOKMARK")
		manyConfigs(h, 2)
		h.watch(state.WatchOptions{Initial: true}).expect("ADDED c000 v", "ADDED c001 v", "BOOKMARK")
		w.expect("ADDED c000 v", "ADDED c001 v")
	})
}

func TestWatchSelection(t *testing.T) {
	h := start(t, memstore.New(), state.Options{})
	sel := state.Selector{Labels: must(labels.Parse("in=yes"))}
	relabel := func(value string) {
		_, err := state.Update(h.ctx, h.State, "default", "a", func(cm *corev1.ConfigMap) error {
			cm.Labels = map[string]string{"in": value}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	w, second := h.watch(state.WatchOptions{Selector: sel}), h.watch(state.WatchOptions{Selector: sel})
	h.create(configMap("a"))
	relabel("yes")
	h.set("a", "w")
	relabel("no")
	h.set("a", "unseen")
	relabel("yes")
	h.delete(configMap("a"), state.DeleteOptions{})
	h.create(configMap("unseen"))
	for _, w := range []*watching{w, second} {
		w.expect("ADDED a v", "MODIFIED a w", "DELETED a w", "ADDED a unseen", "DELETED a unseen")
	}
}

func TestWatchResumes(t *testing.T) {
	overStores(t, func(h *harness) {
		at := must(strconv.ParseUint(h.create(configMap("a")).GetResourceVersion(), 10, 64))
		h.set("a", "w")
		h.delete(configMap("a"), state.DeleteOptions{})
		want := []string{"MODIFIED a w", "DELETED a w"}
		h.watch(state.WatchOptions{After: at}).expect(want...)

		// A state that was opened later has no window that reaches back; the store has.
		late := start(h.T, h.store, state.Options{})
		w := late.watch(state.WatchOptions{After: at})
		w.expect(want...)
		late.create(configMap("b"))
		w.expect("ADDED b v")
		late.set("b", "w")
		w.expect("MODIFIED b w")
	})
}

func TestWatchFallsBehindTheWindow(t *testing.T) {
	h := start(t, memstore.New(), state.Options{})
	w := h.watch(state.WatchOptions{})
	h.create(configMap("a"))
	const changes = 1500 // more than the window keeps
	for i := range changes {
		h.set("a", strconv.Itoa(i))
	}
	want := []string{"ADDED a v"}
	for i := range changes {
		want = append(want, fmt.Sprintf("MODIFIED a %d", i))
	}
	w.expect(want...)
	h.set("a", "last")
	w.expect("MODIFIED a last")
}

func TestWatchExpires(t *testing.T) {
	h := start(t, memstore.New(), state.Options{})
	h.create(configMap("a"))
	at := h.Revision()
	slow := h.watch(state.WatchOptions{})
	for i := range 1200 {
		h.set("a", strconv.Itoa(i))
	}
	if err := h.store.Compact(h.ctx, h.store.Revision()); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Watch(h.ctx, h.configs(), state.WatchOptions{After: at}); !apierrors.IsResourceExpired(err) {
		t.Errorf("new watch: %v", err)
	}
	if _, _, err := slow.w.Next(h.ctx); !apierrors.IsResourceExpired(err) {
		t.Errorf("slow watch: %v", err)
	}
}

func TestWatchReportsProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, memstore.New(), state.Options{})
		w := h.watch(state.WatchOptions{})
		h.create(pod("p"))
		ctx, cancel := context.WithTimeout(h.ctx, time.Second)
		defer cancel()
		events, revision, err := w.w.Next(ctx)
		if len(events) != 0 || revision != h.Revision() || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, revision %d of %d, %v", events, revision, h.Revision(), err)
		}
		h.create(configMap("a"))
		w.expect("ADDED a v")
	})
}

func TestWatchCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, memstore.New(), state.Options{})
		h.create(configMap("a"))
		late := start(t, h.store, state.Options{})
		for name, w := range map[string]*watching{
			"window":  h.watch(state.WatchOptions{}),
			"history": late.watch(state.WatchOptions{After: 1}),
		} {
			done := make(chan error, 1)
			go func() {
				_, _, err := w.w.Next(w.ctx)
				done <- err
			}()
			synctest.Wait()
			w.w.Close()
			w.w.Close()
			if err := <-done; !errors.Is(err, store.ErrClosed) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestManyWatchersShareEvents(t *testing.T) {
	h := start(t, memstore.New(), state.Options{})
	const watchers = 100
	var mu sync.Mutex
	objects, encoded := map[state.Object]int{}, map[*byte]int{}
	var wg sync.WaitGroup
	for range watchers {
		w := h.watch(state.WatchOptions{})
		wg.Go(func() {
			events, _, err := w.w.Next(h.ctx)
			if err != nil {
				t.Error(err)
				return
			}
			obj, b := events[0].Entry.Object(), events[0].Entry.JSON()
			mu.Lock()
			defer mu.Unlock()
			objects[obj]++
			encoded[&b[0]]++
		})
	}
	h.create(configMap("a"))
	wg.Wait()
	if len(objects) != 1 || len(encoded) != 1 {
		t.Errorf("%d objects and %d encodings for %d watchers", len(objects), len(encoded), watchers)
	}
}

// A state that cannot read fast enough to follow the store reads everything anew.
func TestStateFallsBehindTheStore(t *testing.T) {
	st := memstore.New()
	slow := must(state.Open(t.Context(), st, state.Options{Kinds: resource.New()}))
	h := start(t, st, state.Options{})
	h.create(service("s"))
	h.create(configMap("a"))
	h.create(configMap("b"))
	h.delete(configMap("b"), state.DeleteOptions{})
	if err := st.Compact(t.Context(), st.Revision()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- slow.Run(ctx) }()
	k, _ := slow.Kinds().For((*corev1.ConfigMap)(nil))
	if got := names(must(slow.List(ctx, k, state.ListOptions{})).Entries); len(got) != 1 || got[0] != "a" {
		t.Errorf("sees %q", got)
	}
	taken := service("t")
	taken.Spec.ClusterIP = state.List[*corev1.Service](slow, state.Selector{})[0].Spec.ClusterIP
	if _, err := state.Create(ctx, slow, taken); !apierrors.IsInvalid(err) {
		t.Errorf("a claim that is taken: %v", err)
	}
	must(state.Create(ctx, slow, configMap("c")))
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
