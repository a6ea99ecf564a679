package storetest

import (
	"context"
	"fmt"

	"wherry/orchestrator/store"
)

var bounds = []behaviour{
	{"keys, values and operations have a largest size", func(h *harness) {
		key := make([]byte, store.MaxKey)
		for i := range key {
			key[i] = 'k'
		}
		h.commit(put(string(key), "1"))
		h.commit(store.Op{Key: "value", Value: make([]byte, store.MaxValue)})
		h.equal("value", len(h.get("value").Value), store.MaxValue)
		ops := make([]store.Op, store.MaxOps+1)
		for i := range ops {
			ops[i] = put(fmt.Sprint("op/", i), "1")
		}
		h.commit(ops[:store.MaxOps]...)
		_, err := h.Commit(h.ctx, put(string(key)+"k", "1"))
		h.fails("key", err, store.ErrTooLarge)
		_, err = h.Commit(h.ctx, put("a", "1"), store.Op{Key: "value", Value: make([]byte, store.MaxValue+1)})
		h.fails("value", err, store.ErrTooLarge)
		_, err = h.Commit(h.ctx, ops...)
		h.fails("operations", err, store.ErrTooLarge)
		h.absent("a")
		h.equal("revision", h.Revision(), store.Revision(3))
	}},
	{"an operation names a key, and each once", func(h *harness) {
		if _, err := h.Commit(h.ctx, put("", "1")); err == nil {
			h.Error("an empty key was taken")
		}
		if _, err := h.Commit(h.ctx, put("a", "1"), put("b", "1"), remove("a")); err == nil {
			h.Error("a key was taken twice")
		}
		h.equal("revision", h.Revision(), store.Revision(0))
	}},
	{"a context that has ended writes and reads nothing", func(h *harness) {
		ctx, cancel := context.WithCancel(h.ctx)
		w, err := h.Watch(ctx, "", 0)
		h.fails("watch", err, nil)
		defer w.Close()
		cancel()
		_, err = h.Commit(ctx, put("a", "1"))
		h.fails("commit", err, context.Canceled)
		_, err = h.Get(ctx, "a")
		h.fails("get", err, context.Canceled)
		_, err = h.List(ctx, "", store.ListOptions{})
		h.fails("list", err, context.Canceled)
		_, err = h.Watch(ctx, "", 0)
		h.fails("watch", err, context.Canceled)
		h.absent("a")
		h.commit(put("b", "1"))
		events, _, err := w.Next(h.ctx)
		h.fails("a watcher outlives the context that it was made with", err, nil)
		h.equal("events", tell(events), []string{"1 b=1"})
	}},
}
