package boltstore

import (
	"go.etcd.io/bbolt"

	"wherry/orchestrator/store"
	"wherry/orchestrator/store/internal/mvcc"
)

// group is the commits that become one transaction. Each is judged on the index and on
// those before it.
type group struct {
	store   *Store
	commits []commit
	newest  map[string]mvcc.Version // of the keys that the group changes, with values
	last    store.Revision
	size    int
	durable bool // one commit at least is not lazy
}

func (g *group) lookup(key string) (mvcc.Version, bool) {
	if v, ok := g.newest[key]; ok {
		return v, true
	}
	return g.store.index.Newest(key)
}

// judge adds the commit of r to the group, or says why not.
func (g *group) judge(r *request) (store.Revision, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	changes, refused := mvcc.Plan(g.lookup, r.ops)
	if refused != nil {
		return 0, g.conflict(refused.Key, changes[0].Prev)
	}
	if len(changes) == 0 {
		return g.last, nil
	}
	g.last++
	c := commit{revision: g.last, changes: changes}
	g.add(c)
	g.durable = g.durable || !mvcc.Lazy(r.ops)
	return g.last, nil
}

func (g *group) add(c commit) {
	if g.newest == nil {
		g.newest = make(map[string]mvcc.Version)
	}
	for i := range c.changes {
		g.newest[c.changes[i].Key] = c.version(i)
		g.size += recordSize(c.changes[i].Key, c.changes[i].Value)
	}
	g.commits = append(g.commits, c)
}

// conflict refuses a commit with the entry that is in its way, whose revision is 0 if
// there is none.
func (g *group) conflict(key string, present mvcc.Version) error {
	e := present.Entry(key)
	if present.Revision != 0 && present.Value == nil {
		err := g.store.db.View(func(tx *bbolt.Tx) (err error) {
			e, err = readEntry(tx, placeOf(present))
			return err
		})
		if err != nil {
			return err
		}
	}
	return &store.ConflictError{Key: key, Present: e}
}

// version is the version that change i makes.
func (c *commit) version(i int) mvcc.Version { return c.changes[i].Version(c.revision, i) }

// tell writes the events of commits, with the values that they replace.
func tell(tx *bbolt.Tx, commits []commit) error {
	for n := range commits {
		if err := commits[n].tell(tx); err != nil {
			return err
		}
	}
	return nil
}

func (c *commit) tell(tx *bbolt.Tx) error {
	c.events = make([]store.Event, len(c.changes))
	for i := range c.changes {
		change := &c.changes[i]
		if change.Existed && change.Prev.Value == nil {
			prev, err := readEntry(tx, placeOf(change.Prev))
			if err != nil {
				return err
			}
			change.Prev.Value = prev.Value
		}
		c.events[i] = change.Event(c.version(i))
	}
	return nil
}

// transaction is one bbolt transaction while it is made.
type transaction struct {
	store *Store
	counters
	events int // what is added to the writer's
	bytes  int64
	swept  []remains
}

// fill writes everything that the transaction is for. It removes first, while bbolt's
// pages are small. The floor is moved before the transaction commits, so that nobody who
// reads the new file believes in the old one.
func (t *transaction) fill(tx *bbolt.Tx, commits []commit) error {
	if err := t.sweep(tx, count(t.store.writer.lazy)+count(commits)); err != nil {
		return err
	}
	records := tx.Bucket(bucketRecords)
	records.FillPercent = 1 // revisions grow: pages are filled from left to right
	for _, c := range t.store.writer.lazy {
		if err := t.put(records, c); err != nil {
			return err
		}
	}
	for i := range commits {
		if err := commits[i].tell(tx); err != nil {
			return err
		}
		if err := t.put(records, commits[i]); err != nil {
			return err
		}
	}
	t.store.mu.Lock()
	t.store.floor = t.floor
	t.store.mu.Unlock()
	return tx.Bucket(bucketMeta).Put(keyCounters, t.counters.bytes())
}

func count(commits []commit) int {
	n := 0
	for i := range commits {
		n += len(commits[i].changes)
	}
	return n
}

func (t *transaction) put(records *bbolt.Bucket, c commit) error {
	for i := range c.changes {
		change, v := &c.changes[i], c.version(i)
		r := record{deleted: v.Deleted, created: v.Created, key: []byte(change.Key), value: change.Value}
		if change.Existed {
			r.prev = placeOf(change.Prev)
			r.prevSize = uint32(recordSize(change.Key, change.Prev.Value))
		}
		if err := records.Put(placeOf(v).bytes(), r.encode()); err != nil {
			return err
		}
		t.events++
		t.bytes += int64(r.prevSize)
	}
	return nil
}

// sweep removes some of the records that are older than the history may be, before so
// many are added, and gaps that lie before it.
func (t *transaction) sweep(tx *bbolt.Tx, added int) error {
	o, w := &t.store.o, &t.store.writer
	budget := sweepLeast + sweepEach*added
	events, bytes := w.events+added, w.bytes
	swept, err := superfluous(tx, w.swept, w.newest, func(at store.Revision, looked int, freed int64) bool {
		return looked < budget && (at <= t.floor || events-looked > o.HistoryEvents || bytes-freed > o.HistoryBytes)
	})
	if err != nil {
		return err
	}
	t.swept = swept
	for _, m := range swept {
		t.events--
		t.bytes -= m.size
		t.counters.swept = m.at.revision
		for _, p := range m.removes {
			if err := tx.Bucket(bucketRecords).Delete(p.bytes()); err != nil {
				return err
			}
		}
	}
	t.floor = max(t.floor, t.counters.swept)
	return t.closeGaps(tx)
}

func (t *transaction) closeGaps(tx *bbolt.Tx) error {
	for _, g := range t.store.gaps {
		if g.last >= t.floor {
			break
		}
		if err := tx.Bucket(bucketGaps).Delete(g.key()); err != nil {
			return err
		}
	}
	return nil
}
