package storetest

import (
	"errors"
	"fmt"
	"strconv"
	"sync"

	"wherry/orchestrator/store"
)

var concurrents = []behaviour{
	{"every revision is given once", func(h *harness) {
		const writers, each = 16, 25
		revisions := make([][]store.Revision, writers)
		h.together(writers, func(n int) {
			for i := range each {
				rev, err := h.Commit(h.ctx, store.Op{Key: fmt.Sprintf("k/%d/%d", n, i), Value: []byte("v"), Lazy: i%3 == 0})
				if err != nil {
					h.Errorf("commit: %v", err)
					return
				}
				revisions[n] = append(revisions[n], rev)
			}
		})
		given := map[store.Revision]bool{}
		for _, list := range revisions {
			for i, rev := range list {
				if given[rev] {
					h.Errorf("revision %d was given twice", rev)
				}
				if i > 0 && rev <= list[i-1] {
					h.Errorf("a writer got %d after %d", rev, list[i-1])
				}
				given[rev] = true
			}
		}
		h.equal("commits", len(given), writers*each)
		h.equal("keys", len(h.list("k/", store.ListOptions{}).Entries), writers*each)
		h.equal("events", len(h.watch("k/", 0).until(writers*each)), writers*each)
	}},
	{"a counter loses no increment", func(h *harness) {
		const writers, each = 8, 20
		h.commit(put("counter", "0"))
		h.together(writers, func(int) {
			for range each {
				h.increment()
			}
		})
		h.equal("counter", string(h.get("counter").Value), strconv.Itoa(writers*each))
		for i, e := range h.watch("counter", 0).until(writers*each + 1) {
			h.equal("event", string(e.Entry.Value), strconv.Itoa(i))
		}
	}},
	{"one of many creators wins", func(h *harness) {
		const writers = 16
		var mu sync.Mutex
		won := 0
		h.together(writers, func(n int) {
			_, err := h.Commit(h.ctx, putAt("claim", strconv.Itoa(n), 0), put(fmt.Sprint("by/", n), "1"))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case !errors.Is(err, store.ErrConflict):
				h.Errorf("commit: %v", err)
			}
		})
		h.equal("winners", won, 1)
		page := h.list("by/", store.ListOptions{})
		h.equal("their second keys", len(page.Entries), 1)
		h.equal("the winner's", page.Entries[0].Key, "by/"+string(h.get("claim").Value))
	}},
	{"watchers see what was answered", func(h *harness) {
		const writers, watchers, each = 4, 4, 50
		seen := make([][]string, watchers)
		var reading sync.WaitGroup
		for i := range watchers {
			w := h.watch("k/", 0)
			reading.Go(func() {
				for len(seen[i]) < writers*each {
					events, through, err := w.w.Next(h.ctx)
					if err != nil {
						h.Errorf("next: %v", err)
						return
					}
					if through > h.Revision() {
						h.Errorf("a watcher is at %d before the store", through)
					}
					seen[i] = append(seen[i], tell(events)...)
				}
			})
		}
		h.together(writers, func(n int) {
			for i := range each {
				rev, err := h.Commit(h.ctx, put(fmt.Sprintf("k/%d", n), strconv.Itoa(i)))
				if err != nil {
					h.Errorf("commit: %v", err)
					return
				}
				if e, err := h.Get(h.ctx, fmt.Sprintf("k/%d", n)); err != nil || e.Revision != rev {
					h.Errorf("get after the commit %d: %d, %v", rev, e.Revision, err)
				}
			}
		})
		reading.Wait()
		whole := tell(h.watch("k/", 0).until(writers * each))
		for _, s := range seen {
			h.equal("a live watcher", s, whole)
		}
	}},
	{"a list is of one revision", func(h *harness) {
		h.commit(put("a", "0"), put("z", "0"))
		done := make(chan struct{})
		var reading sync.WaitGroup
		reading.Go(func() {
			for {
				page, err := h.List(h.ctx, "", store.ListOptions{})
				if err != nil || len(page.Entries) != 2 {
					h.Errorf("list: %v, %v", show(page.Entries), err)
					return
				}
				if a, z := page.Entries[0], page.Entries[1]; string(a.Value) != string(z.Value) || a.Revision != z.Revision || a.Revision > page.Revision {
					h.Errorf("a list at %d is of two revisions: %v", page.Revision, show(page.Entries))
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
		for i := range 200 {
			h.commit(put("a", strconv.Itoa(i)), put("z", strconv.Itoa(i)))
		}
		close(done)
		reading.Wait()
	}},
}

// together runs n writers and waits for them.
func (h *harness) together(n int, write func(n int)) {
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { write(i) })
	}
	group.Wait()
	if h.Failed() {
		h.FailNow()
	}
}

// increment adds one to the key "counter", trying again at every conflict with what the
// conflict tells.
func (h *harness) increment() {
	present, err := h.Get(h.ctx, "counter")
	if err != nil {
		h.Errorf("get: %v", err)
		return
	}
	for {
		n, err := strconv.Atoi(string(present.Value))
		if err != nil {
			h.Errorf("counter: %v", err)
			return
		}
		_, err = h.Commit(h.ctx, putAt("counter", strconv.Itoa(n+1), present.Revision))
		var conflict *store.ConflictError
		switch {
		case err == nil:
			return
		case errors.As(err, &conflict):
			present = conflict.Present
		default:
			h.Errorf("commit: %v", err)
			return
		}
	}
}

var closes = []behaviour{
	{"wakes watchers and refuses everything else", func(h *harness) {
		h.commit(put("a", "1"))
		w := h.watch("", 1)
		ended := make(chan error)
		go func() { _, _, err := w.w.Next(h.ctx); ended <- err }()
		h.fails("close", h.Close(), nil)
		h.fails("next", <-ended, store.ErrClosed)
		_, err := h.Get(h.ctx, "a")
		h.fails("get", err, store.ErrClosed)
		_, err = h.List(h.ctx, "", store.ListOptions{})
		h.fails("list", err, store.ErrClosed)
		_, err = h.Watch(h.ctx, "", 1)
		h.fails("watch", err, store.ErrClosed)
		_, err = h.Commit(h.ctx, put("a", "2"))
		h.fails("commit", err, store.ErrClosed)
		h.fails("compact", h.Compact(h.ctx, 1), store.ErrClosed)
		h.fails("close again", h.Close(), nil)
	}},
	{"answers or refuses every running commit", func(h *harness) {
		var group sync.WaitGroup
		for n := range 8 {
			group.Go(func() {
				for i := 0; ; i++ {
					_, err := h.Commit(h.ctx, put(fmt.Sprintf("k/%d", n), strconv.Itoa(i)))
					if errors.Is(err, store.ErrClosed) {
						return
					}
					if err != nil {
						h.Errorf("commit: %v", err)
						return
					}
				}
			})
		}
		w := h.watch("", 0)
		w.next()
		h.fails("close", h.Close(), nil)
		group.Wait()
	}},
}
