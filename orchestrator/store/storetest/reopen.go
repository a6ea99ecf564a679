package storetest

import (
	"fmt"
	"testing"

	"wherry/orchestrator/store"
)

// RunPersistent runs the behaviours of stores that outlive their process. open opens
// the store in a folder, whose first is empty; it keeps 1,000 changes at least.
func RunPersistent(t *testing.T, open func(t *testing.T, dir string) store.Store) {
	for _, b := range reopens {
		t.Run("reopen/"+b.name, func(t *testing.T) {
			dir := t.TempDir()
			h := start(t, open(t, dir))
			b.run(h, func() {
				h.Helper()
				h.fails("close", h.Close(), nil)
				h.Store = open(t, dir)
				h.Cleanup(func() { h.fails("close", h.Close(), nil) })
			})
		})
	}
}

type reopening struct {
	name string
	run  func(h *harness, reopen func())
}

var reopens = []reopening{
	{"an empty store stays empty", func(h *harness, reopen func()) {
		reopen()
		h.equal("revision", h.Revision(), store.Revision(0))
		h.equal("entries", len(h.list("", store.ListOptions{}).Entries), 0)
		h.equal("first", h.commit(put("a", "1")), store.Revision(1))
	}},
	{"everything is as it was", func(h *harness, reopen func()) {
		h.commit(put("a", "1"), put("b", ""))
		h.commit(put("a", "2"))
		h.commit(put("c", "3"))
		h.commit(remove("c"))
		h.commit(lazy("e", "5"))
		before := h.list("", store.ListOptions{})
		for range 3 {
			reopen()
			h.equal("entries", h.list("", store.ListOptions{}), before)
			h.equal("b", h.get("b"), store.Entry{Key: "b", Value: []byte{}, Created: 1, Revision: 1})
			h.absent("c")
		}
		h.equal("goes on", h.commit(putAt("a", "6", 2), putAt("c", "6", 0)), store.Revision(6))
		h.equal("a", h.get("a").Created, store.Revision(1))
		h.equal("c", h.get("c").Created, store.Revision(6))
	}},
	{"a watch is resumed", func(h *harness, reopen func()) {
		for i := range 40 {
			h.commit(put(fmt.Sprintf("k/%d", i%7), fmt.Sprint(i)), put("other", "x"))
			if i%10 == 5 {
				h.commit(remove("k/3"))
			}
		}
		whole := h.watch("k/", 0).until(44)
		w := h.watch("k/", 20)
		events := w.next()
		reopen()
		w = h.watch("k/", w.after)
		h.commit(put("k/new", "1"))
		w.next()
		h.equal("after", tell(append(events, w.seen...)[:24]), tell(whole[20:]))
		h.equal("from the start", h.watch("k/", 0).until(45)[:44], whole)
	}},
	{"older revisions can be listed", func(h *harness, reopen func()) {
		h.commit(put("a", "1"))
		h.commit(put("a", "2"), put("b", "2"))
		h.commit(remove("b"))
		h.commit(put("b", "4"))
		reopen()
		for rev, want := range map[store.Revision][]string{
			1: {"a=1@1"}, 2: {"a=2@2", "b=2@2"}, 3: {"a=2@2"}, 4: {"a=2@2", "b=4@4"},
		} {
			h.equal(fmt.Sprint("at ", rev), show(h.list("", store.ListOptions{Revision: rev}).Entries), want)
		}
	}},
	{"what is compacted stays so", func(h *harness, reopen func()) {
		for i := range 10 {
			h.commit(put("a", fmt.Sprint(i)), put(fmt.Sprint("k/", i), "1"))
			h.commit(remove(fmt.Sprint("k/", i)))
		}
		h.fails("compact", h.Compact(h.ctx, 15), nil)
		reopen()
		_, err := h.Watch(h.ctx, "", 14)
		h.fails("watch before", err, store.ErrCompacted)
		h.equal("watch behind", len(h.watch("", 15).until(7)), 7)
		h.equal("list at", show(h.list("", store.ListOptions{Revision: 15}).Entries), []string{"a=7@15", "k/7=1@15"})
		h.fails("compact all", h.Compact(h.ctx, h.Revision()), nil)
		reopen()
		h.equal("revision", h.Revision(), store.Revision(20))
		h.equal("entries", show(h.list("", store.ListOptions{}).Entries), []string{"a=9@19"})
		h.absent("k/3")
		h.equal("goes on", h.commit(putAt("a", "x", 19)), store.Revision(21))
	}},
}
