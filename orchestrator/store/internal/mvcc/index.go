// Package mvcc holds what every store keeps in memory: an index that knows which key
// existed at which revision, a log of the newest commits, and the watcher over them.
//
// Nothing here locks. The store that owns an Index or a Log guards it; only Watcher is
// safe by itself.
package mvcc

import (
	"strings"

	"github.com/tidwall/btree"

	"wherry/orchestrator/store"
)

// Version is one state of one key, from the commit Revision until the next version.
type Version struct {
	Created  store.Revision // the commit since which the key exists without a gap
	Revision store.Revision
	// Ordinal is the position of the change in its commit, from 0: together with
	// Revision it names the record of the value.
	Ordinal uint16
	Deleted bool
	// Value is nil if the store keeps values elsewhere.
	Value []byte
}

// Entry is the version as the world sees it.
func (v Version) Entry(key string) store.Entry {
	return store.Entry{Key: key, Value: v.Value, Created: v.Created, Revision: v.Revision}
}

// Index knows the versions of every key. Versions of one key have growing revisions;
// the newest one always remains, unless it is a deletion that has been trimmed.
type Index struct {
	keys btree.Map[string, *versions]
}

type versions struct {
	newest Version
	older  []Version // oldest first
}

// Newest returns the newest version of key, which may be a deletion.
func (x *Index) Newest(key string) (Version, bool) {
	v, ok := x.keys.Get(key)
	if !ok {
		return Version{}, false
	}
	return v.newest, true
}

// Live returns the newest version of key if it exists.
func (x *Index) Live(key string) (Version, bool) {
	v, ok := x.Newest(key)
	return v, ok && !v.Deleted
}

// Put adds a version newer than all others of key.
func (x *Index) Put(key string, v Version) {
	h, ok := x.keys.Get(key)
	if !ok {
		x.keys.Set(key, &versions{newest: v})
		return
	}
	h.older = append(h.older, h.newest)
	h.newest = v
}

// Settle forgets the value that the version of key at rev carries, once the store
// keeps it elsewhere.
func (x *Index) Settle(key string, rev store.Revision) {
	h, ok := x.keys.Get(key)
	if !ok {
		return
	}
	if h.newest.Revision == rev {
		h.newest.Value = nil
		return
	}
	for i := range h.older {
		if h.older[i].Revision == rev {
			h.older[i].Value = nil
		}
	}
}

// Trim forgets the versions of key that had been replaced or deleted at floor.
func (x *Index) Trim(key string, floor store.Revision) {
	h, ok := x.keys.Get(key)
	if !ok {
		return
	}
	if h.newest.Revision <= floor {
		h.older = nil
		if h.newest.Deleted {
			x.keys.Delete(key)
		}
		return
	}
	keep := len(h.older)
	for keep > 0 && h.older[keep-1].Revision > floor {
		keep--
	}
	// older[keep-1] is what the key was at floor; a deletion is the same as nothing.
	if keep > 0 && !h.older[keep-1].Deleted {
		keep--
	}
	h.older = append([]Version(nil), h.older[keep:]...)
}

// at returns what the key was at rev.
func (h *versions) at(rev store.Revision) (Version, bool) {
	if h.newest.Revision <= rev {
		return h.newest, !h.newest.Deleted
	}
	for i := len(h.older) - 1; i >= 0; i-- {
		if h.older[i].Revision <= rev {
			return h.older[i], !h.older[i].Deleted
		}
	}
	return Version{}, false
}

// Found is one key of a List.
type Found struct {
	Key string
	Version
}

// List returns the keys under prefix, behind after, as they were at rev, at most limit
// of them (0: all), and how many more there are.
func (x *Index) List(prefix, after string, limit int, rev store.Revision) (found []Found, remaining int) {
	from := prefix
	if after > from {
		from = after
	}
	x.keys.Ascend(from, func(key string, h *versions) bool {
		if !strings.HasPrefix(key, prefix) {
			return false
		}
		if key == after {
			return true
		}
		v, ok := h.at(rev)
		switch {
		case !ok:
		case limit > 0 && len(found) == limit:
			remaining++
		default:
			found = append(found, Found{key, v})
		}
		return true
	})
	return found, remaining
}

// Len is the number of keys, deleted ones that still have a history included.
func (x *Index) Len() int { return x.keys.Len() }
