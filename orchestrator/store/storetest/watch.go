package storetest

import (
	"context"
	"fmt"

	"wherry/orchestrator/store"
)

var watches = []behaviour{
	{"tells every change with what was before", func(h *harness) {
		w := h.watch("", 0)
		h.commit(put("a", "1"))
		h.commit(put("a", "2"))
		h.commit(remove("a"))
		h.commit(put("a", "4"))
		h.equal("events", w.until(4), []store.Event{
			{Entry: store.Entry{Key: "a", Value: []byte("1"), Created: 1, Revision: 1}},
			{
				Entry: store.Entry{Key: "a", Value: []byte("2"), Created: 1, Revision: 2},
				Prev:  store.Entry{Key: "a", Value: []byte("1"), Created: 1, Revision: 1},
			},
			{
				Deleted: true,
				Entry:   store.Entry{Key: "a", Value: []byte("2"), Created: 1, Revision: 3},
				Prev:    store.Entry{Key: "a", Value: []byte("2"), Created: 1, Revision: 2},
			},
			{Entry: store.Entry{Key: "a", Value: []byte("4"), Created: 4, Revision: 4}},
		})
	}},
	{"begins after its revision", func(h *harness) {
		for i := range 5 {
			h.commit(put("a", fmt.Sprint(i)))
		}
		h.equal("after 3", tell(h.watch("", 3).until(2)), []string{"4 a=3 (was 2 at 3)", "5 a=4 (was 3 at 4)"})
		w := h.watch("", 5)
		h.commit(put("b", "1"))
		h.equal("after the newest", tell(w.until(1)), []string{"6 b=1"})
	}},
	{"is resumed at any returned revision", func(h *harness) {
		for i := range 40 {
			h.commit(put(fmt.Sprintf("k/%d", i%7), fmt.Sprint(i)), put("other", "x"))
		}
		whole := tell(h.watch("k/", 0).until(40))
		var joined []string
		for after := store.Revision(0); len(joined) < 40; {
			w := h.watch("k/", after)
			joined = append(joined, tell(w.next())...)
			after = w.after
			w.w.Close()
		}
		h.equal("resumed", joined, whole)
	}},
	{"sees only its prefix", func(h *harness) {
		w := h.watch("/pods/", 0)
		h.commit(put("/pods", "1"), put("/pods0", "1"), put("/podsa/b", "1"), put("/pod/a", "1"))
		h.commit(put("/pods/a", "1"))
		h.commit(remove("/pods0"))
		h.commit(remove("/pods/a"))
		h.equal("events", tell(w.until(2)), []string{"2 /pods/a=1", "4 /pods/a deleted=1 (was 1 at 2)"})
	}},
	{"never splits a commit", func(h *harness) {
		const commits, each = 12, 300
		ops := make([]store.Op, each)
		for c := range commits {
			for i := range ops {
				ops[i] = put(fmt.Sprintf("k/%03d", i), fmt.Sprint(c))
			}
			h.commit(ops...)
		}
		w := h.watch("k/", 0)
		for seen := 0; seen < commits*each; {
			n := len(w.next())
			if n%each != 0 {
				h.Fatalf("a batch of %d events holds a part of a commit of %d", n, each)
			}
			seen += n
		}
		order := []string{}
		for _, e := range w.seen[:each] {
			order = append(order, e.Entry.Key)
		}
		want := []string{}
		for _, op := range ops {
			want = append(want, op.Key)
		}
		h.equal("order within a commit", order, want)
	}},
	{"a refused commit is not seen", func(h *harness) {
		w := h.watch("", 0)
		h.commit(put("a", "1"))
		h.refused("a", store.Entry{Value: []byte("1"), Created: 1, Revision: 1}, put("b", "1"), putAt("a", "2", 0))
		h.commit(put("c", "1"))
		h.equal("events", tell(w.until(2)), []string{"1 a=1", "2 c=1"})
	}},
	{"lazy and durable commits are one order", func(h *harness) {
		w := h.watch("", 0)
		h.commit(put("a", "1"))
		h.commit(lazy("e", "1"))
		h.equal("lazy is seen without a durable one behind it", tell(w.until(2)), []string{"1 a=1", "2 e=1"})
		h.commit(lazy("e", "2"))
		h.commit(put("a", "2"))
		h.commit(lazy("f", "1"))
		h.commit(store.Op{Key: "e", Lazy: true})
		h.equal("events", tell(w.until(4)), []string{"3 e=2 (was 1 at 2)", "4 a=2 (was 1 at 1)", "5 f=1", "6 e deleted=2 (was 2 at 3)"})
		h.equal("again from the start", len(h.watch("", 0).until(6)), 6)
	}},
	{"waits, and ends with the context of Next only", func(h *harness) {
		w := h.watch("", 0)
		ctx, cancel := context.WithCancel(h.ctx)
		ended := make(chan error)
		go func() { _, _, err := w.w.Next(ctx); ended <- err }()
		cancel()
		h.fails("next", <-ended, context.Canceled)
		h.commit(put("a", "1"))
		h.equal("goes on", tell(w.until(1)), []string{"1 a=1"})
	}},
	{"close wakes Next", func(h *harness) {
		w := h.watch("", 0)
		ended := make(chan error)
		go func() { _, _, err := w.w.Next(h.ctx); ended <- err }()
		w.w.Close()
		h.fails("next", <-ended, store.ErrClosed)
		_, _, err := w.w.Next(h.ctx)
		h.fails("next after close", err, store.ErrClosed)
		w.w.Close()
	}},
	{"other prefixes do not hold it back", func(h *harness) {
		w := h.watch("quiet/", 0)
		for i := range 50 {
			h.commit(put("loud/a", fmt.Sprint(i)))
		}
		rev := h.commit(put("quiet/a", "1"))
		h.equal("event", tell(w.until(1)), []string{fmt.Sprintf("%d quiet/a=1", rev)})
		h.equal("complete through", w.after, rev)
	}},
}
