package storetest

import "wherry/orchestrator/store"

var commits = []behaviour{
	{"revisions count from one", func(h *harness) {
		h.equal("revision of an empty store", h.Revision(), store.Revision(0))
		h.equal("first", h.commit(put("a", "1")), store.Revision(1))
		h.equal("second", h.commit(put("a", "2")), store.Revision(2))
		h.equal("newest", h.Revision(), store.Revision(2))
	}},
	{"an entry tells when it was created and written", func(h *harness) {
		h.commit(put("a", "1"))
		h.commit(put("b", "1"))
		h.commit(put("a", "2"))
		h.equal("a", h.get("a"), store.Entry{Key: "a", Value: []byte("2"), Created: 1, Revision: 3})
		h.commit(remove("a"))
		h.absent("a")
		h.commit(put("a", "3"))
		h.equal("a, created again", h.get("a"), store.Entry{Key: "a", Value: []byte("3"), Created: 5, Revision: 5})
	}},
	{"a key that never was is not found", func(h *harness) {
		h.absent("a")
		h.commit(put("ab", "1"))
		h.absent("a")
	}},
	{"an empty value is a value", func(h *harness) {
		h.commit(put("a", ""))
		h.equal("a", h.get("a"), store.Entry{Key: "a", Value: []byte{}, Created: 1, Revision: 1})
	}},
	{"create only if absent", func(h *harness) {
		h.commit(putAt("a", "1", 0))
		h.refused("a", store.Entry{Value: []byte("1"), Created: 1, Revision: 1}, putAt("a", "2", 0))
		h.commit(removeAt("a", 1))
		h.equal("created again", h.commit(putAt("a", "3", 0)), store.Revision(3))
	}},
	{"write only if unchanged", func(h *harness) {
		h.refused("a", store.Entry{}, putAt("a", "1", 7))
		h.commit(put("a", "1"))
		h.commit(putAt("a", "2", 1))
		h.refused("a", store.Entry{Value: []byte("2"), Created: 1, Revision: 2}, putAt("a", "3", 1))
		h.refused("a", store.Entry{Value: []byte("2"), Created: 1, Revision: 2}, removeAt("a", 1))
		h.commit(removeAt("a", 2))
		h.refused("a", store.Entry{}, removeAt("a", 2))
	}},
	{"deleting nothing changes nothing", func(h *harness) {
		h.equal("in an empty store", h.commit(remove("a")), store.Revision(0))
		h.commit(put("b", "1"))
		h.equal("unconditionally", h.commit(remove("a")), store.Revision(1))
		h.equal("if absent", h.commit(removeAt("a", 0)), store.Revision(1))
		h.equal("no operations", h.commit(), store.Revision(1))
		h.equal("newest", h.Revision(), store.Revision(1))
	}},
	{"several operations are one revision", func(h *harness) {
		h.commit(put("a", "1"), put("b", "1"))
		h.commit(remove("a"), putAt("b", "2", 1), put("c", "1"), remove("never"))
		h.absent("a")
		page := h.list("", store.ListOptions{})
		h.equal("all", show(page.Entries), []string{"b=2@2", "c=1@2"})
	}},
	{"all operations or none", func(h *harness) {
		h.commit(put("a", "1"), put("b", "1"))
		h.refused("b", store.Entry{Value: []byte("1"), Created: 1, Revision: 1},
			put("a", "2"), putAt("b", "2", 7), put("c", "2"))
		h.refused("d", store.Entry{}, remove("a"), putAt("d", "2", 7))
		h.equal("all", show(h.list("", store.ListOptions{}).Entries), []string{"a=1@1", "b=1@1"})
	}},
	{"a condition without a change still counts", func(h *harness) {
		h.commit(put("a", "1"))
		h.refused("a", store.Entry{Value: []byte("1"), Created: 1, Revision: 1}, removeAt("a", 0), put("b", "1"))
		h.commit(removeAt("z", 0), put("b", "1"))
		h.equal("b", show(h.list("", store.ListOptions{}).Entries), []string{"a=1@1", "b=1@2"})
	}},
	{"lazy writes are seen at once", func(h *harness) {
		h.commit(put("a", "1"))
		h.equal("revision", h.commit(lazy("e", "1")), store.Revision(2))
		h.equal("newest", h.Revision(), store.Revision(2))
		h.equal("e", h.get("e"), store.Entry{Key: "e", Value: []byte("1"), Created: 2, Revision: 2})
		h.commit(lazy("e", "2"))
		h.equal("e", h.get("e"), store.Entry{Key: "e", Value: []byte("2"), Created: 2, Revision: 3})
		h.commit(put("a", "2"), lazy("e", "3"))
		h.equal("all", show(h.list("", store.ListOptions{}).Entries), []string{"a=2@4", "e=3@4"})
		h.equal("then", show(h.list("", store.ListOptions{Revision: 2}).Entries), []string{"a=1@1", "e=1@2"})
	}},
	{"lazy conditions see lazy writes", func(h *harness) {
		h.commit(lazy("e", "1"))
		h.refused("e", store.Entry{Value: []byte("1"), Created: 1, Revision: 1},
			store.Op{Key: "e", Value: []byte("2"), If: store.At(0), Lazy: true})
		h.refused("e", store.Entry{Value: []byte("1"), Created: 1, Revision: 1}, putAt("e", "2", 0))
		h.commit(store.Op{Key: "e", If: store.At(1), Lazy: true})
		h.absent("e")
	}},
}
