package storetest

import (
	"errors"
	"fmt"

	"wherry/orchestrator/store"
)

var histories = []behaviour{
	{"compaction keeps what is, forgets what was", func(h *harness) {
		h.commit(put("a", "1"))
		h.commit(put("a", "2"), put("b", "2"))
		h.commit(remove("b"))
		h.commit(put("a", "4"))
		h.commit(put("a", "5"))
		h.fails("compact", h.Compact(h.ctx, 3), nil)
		for rev := store.Revision(1); rev < 3; rev++ {
			_, err := h.List(h.ctx, "", store.ListOptions{Revision: rev})
			h.fails(fmt.Sprint("list at ", rev), err, store.ErrCompacted)
			_, err = h.Watch(h.ctx, "", rev)
			h.fails(fmt.Sprint("watch after ", rev), err, store.ErrCompacted)
		}
		h.equal("at the compacted revision", show(h.list("", store.ListOptions{Revision: 3}).Entries), []string{"a=2@2"})
		h.equal("behind it", show(h.list("", store.ListOptions{Revision: 4}).Entries), []string{"a=4@4"})
		h.equal("now", h.get("a"), store.Entry{Key: "a", Value: []byte("5"), Created: 1, Revision: 5})
		h.absent("b")
		h.equal("watch behind it", tell(h.watch("", 3).until(2)), []string{"4 a=4 (was 2 at 2)", "5 a=5 (was 4 at 4)"})
	}},
	{"compaction may be repeated, and go backwards in vain", func(h *harness) {
		for i := range 5 {
			h.commit(put("a", fmt.Sprint(i)))
		}
		h.fails("compact", h.Compact(h.ctx, 4), nil)
		h.fails("compact again", h.Compact(h.ctx, 4), nil)
		h.fails("compact less", h.Compact(h.ctx, 2), nil)
		_, err := h.Watch(h.ctx, "", 3)
		h.fails("watch", err, store.ErrCompacted)
		h.fails("compact all", h.Compact(h.ctx, 5), nil)
		h.equal("a", h.get("a").Revision, store.Revision(5))
		h.commit(putAt("a", "6", 5))
		h.equal("next", tell(h.watch("", 5).until(1)), []string{"6 a=6 (was 4 at 5)"})
	}},
	{"a deleted key stays deleted", func(h *harness) {
		h.commit(put("a", "1"))
		h.commit(remove("a"))
		h.fails("compact", h.Compact(h.ctx, 2), nil)
		h.absent("a")
		h.refused("a", store.Entry{}, putAt("a", "x", 2))
		h.equal("empty", len(h.list("", store.ListOptions{Revision: 2}).Entries), 0)
		h.commit(putAt("a", "3", 0))
		h.equal("a", h.get("a"), store.Entry{Key: "a", Value: []byte("3"), Created: 3, Revision: 3})
	}},
	{"a watcher that fell behind is told", func(h *harness) {
		w := h.watch("", 0)
		for i := range 5 {
			h.commit(put("a", fmt.Sprint(i)))
		}
		h.fails("compact", h.Compact(h.ctx, 4), nil)
		_, _, err := w.w.Next(h.ctx)
		h.fails("next", err, store.ErrCompacted)
	}},
	{"the history ends by itself, the present does not", func(h *harness) {
		h.commit(put("keep", "1"))
		slow, live := h.watch("", 1), h.watch("keep", 1)
		batch := make([]store.Op, 100)
		last := store.Revision(1)
		for i := range 100_000 {
			for k := range batch {
				batch[k] = put(fmt.Sprint("k/", k), fmt.Sprint(i))
			}
			last = h.commit(batch...)
			w, err := h.Watch(h.ctx, "", 1)
			if errors.Is(err, store.ErrCompacted) {
				break
			}
			h.fails("watch", err, nil)
			w.Close()
		}
		_, err := h.Watch(h.ctx, "", 1)
		h.fails("watch after the first", err, store.ErrCompacted)
		_, err = h.List(h.ctx, "", store.ListOptions{Revision: 1})
		h.fails("list at the first", err, store.ErrCompacted)
		_, _, err = slow.w.Next(h.ctx)
		h.fails("a watcher that never read", err, store.ErrCompacted)
		_, _, err = live.w.Next(h.ctx)
		h.fails("nor may one that saw nothing go on", err, store.ErrCompacted)
		h.equal("keep", h.get("keep").Revision, store.Revision(1))
		page := h.list("k/", store.ListOptions{})
		h.equal("keys", len(page.Entries), len(batch))
		h.equal("newest", page.Entries[0].Revision, last)
	}},
}
