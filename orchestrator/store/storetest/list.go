package storetest

import (
	"fmt"

	"wherry/orchestrator/store"
)

var lists = []behaviour{
	{"an empty store has an empty list", func(h *harness) {
		h.equal("page", len(h.list("", store.ListOptions{}).Entries), 0)
	}},
	{"keys come in byte order", func(h *harness) {
		h.commit(put("b", "1"), put("a/b", "1"), put("a", "1"), put("a-b", "1"), put("a\x00", "1"), put("a\xff", "1"))
		keys := []string{}
		for _, e := range h.list("", store.ListOptions{}).Entries {
			keys = append(keys, e.Key)
		}
		h.equal("keys", keys, []string{"a", "a\x00", "a-b", "a/b", "a\xff", "b"})
	}},
	{"a prefix ends where it ends", func(h *harness) {
		h.commit(put("/pods", "1"), put("/pods/", "1"), put("/pods/a", "1"), put("/pods0", "1"), put("/podsa", "1"), put("/pod/a", "1"))
		h.equal("under /pods/", show(h.list("/pods/", store.ListOptions{}).Entries), []string{"/pods/=1@1", "/pods/a=1@1"})
		h.equal("under /pods/a", show(h.list("/pods/a", store.ListOptions{}).Entries), []string{"/pods/a=1@1"})
		h.equal("under /q", len(h.list("/q", store.ListOptions{}).Entries), 0)
		h.commit(put("\xff\xff", "1"), put("\xff\xffa", "1"))
		h.equal("under ff ff", len(h.list("\xff\xff", store.ListOptions{}).Entries), 2)
	}},
	{"pages join to the whole", func(h *harness) {
		var want []string
		for i := range 25 {
			h.commit(put(fmt.Sprintf("k/%02d", i), "v"))
			want = append(want, fmt.Sprintf("k/%02d=v@%d", i, i+1))
		}
		h.commit(put("other", "v"))
		var got []string
		o := store.ListOptions{Limit: 10}
		for left := 25; ; {
			page := h.list("k/", o)
			h.equal("revision", page.Revision, store.Revision(26))
			left -= len(page.Entries)
			h.equal("remaining", page.Remaining, left)
			got = append(got, show(page.Entries)...)
			if page.Remaining == 0 {
				break
			}
			o.After, o.Revision = page.Entries[len(page.Entries)-1].Key, page.Revision
			h.commit(put(fmt.Sprintf("k/%02d", len(got)), "changed"), put(fmt.Sprintf("k/%02dnew", len(got)), "v"))
			h.commit(remove("k/24"))
			h.equal("now", h.list("other", store.ListOptions{}).Revision, h.Revision())
			if len(got) > 25 {
				h.Fatal("pages do not end")
			}
		}
		h.equal("all pages", got, want)
	}},
	{"after need not exist, nor lie under the prefix", func(h *harness) {
		h.commit(put("a", "1"), put("k/a", "1"), put("k/c", "1"), put("z", "1"))
		h.equal("between", show(h.list("k/", store.ListOptions{After: "k/b"}).Entries), []string{"k/c=1@1"})
		h.equal("before", show(h.list("k/", store.ListOptions{After: "a"}).Entries), []string{"k/a=1@1", "k/c=1@1"})
		h.equal("behind", len(h.list("k/", store.ListOptions{After: "z"}).Entries), 0)
		h.equal("last", len(h.list("k/", store.ListOptions{After: "k/c"}).Entries), 0)
	}},
	{"an older revision shows what was", func(h *harness) {
		h.commit(put("a", "1"))
		h.commit(put("b", "2"))
		h.commit(put("a", "3"))
		h.commit(remove("b"))
		h.commit(put("b", "5"))
		h.commit(remove("a"), put("c", "6"))
		for rev, want := range [][]string{
			1: {"a=1@1"},
			2: {"a=1@1", "b=2@2"},
			3: {"a=3@3", "b=2@2"},
			4: {"a=3@3"},
			5: {"a=3@3", "b=5@5"},
			6: {"b=5@5", "c=6@6"},
		} {
			if rev > 0 {
				page := h.list("", store.ListOptions{Revision: store.Revision(rev)})
				h.equal(fmt.Sprintf("at %d", rev), show(page.Entries), want)
				h.equal("revision", page.Revision, store.Revision(rev))
			}
		}
	}},
	{"the future is refused", func(h *harness) {
		h.commit(put("a", "1"))
		_, err := h.List(h.ctx, "", store.ListOptions{Revision: 2})
		h.fails("list", err, store.ErrFuture)
		_, err = h.Watch(h.ctx, "", 2)
		h.fails("watch", err, store.ErrFuture)
		h.fails("compact", h.Compact(h.ctx, 2), store.ErrFuture)
	}},
}
