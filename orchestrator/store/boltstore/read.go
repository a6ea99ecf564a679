package boltstore

import (
	"bytes"
	"fmt"
	"strings"

	"go.etcd.io/bbolt"

	"wherry/orchestrator/store"
	"wherry/orchestrator/store/internal/mvcc"
)

var (
	bucketMeta    = []byte("meta")
	bucketGaps    = []byte("gaps")
	bucketRecords = []byte("records")
)

// readRecord returns the record at p; it lies in the file and ends with tx.
func readRecord(tx *bbolt.Tx, p place) (record, error) {
	b := tx.Bucket(bucketRecords).Get(p.bytes())
	if b == nil {
		return record{}, fmt.Errorf("%w: record %d.%d is missing", ErrDamaged, p.revision, p.ordinal)
	}
	r, err := verifyRecord(b)
	if err != nil {
		return record{}, fmt.Errorf("%w: record %d.%d: %w", ErrDamaged, p.revision, p.ordinal, err)
	}
	return r, nil
}

func readEntry(tx *bbolt.Tx, p place) (store.Entry, error) {
	r, err := readRecord(tx, p)
	if err != nil {
		return store.Entry{}, err
	}
	return r.entry(p), nil
}

// readEvents returns the events under prefix of the commits after one revision and not
// behind another, a batch of whole commits, and the revision through which it has looked.
func readEvents(tx *bbolt.Tx, prefix string, after, through store.Revision) ([]store.Event, store.Revision, error) {
	batch := mvcc.Batch{Through: after}
	c := tx.Bucket(bucketRecords).Cursor()
	for k, v := c.Seek(place{after + 1, 0}.bytes()); k != nil; k, v = c.Next() {
		p, err := parsePlace(k)
		if err != nil {
			return nil, 0, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if p.revision > through {
			break
		}
		if p.revision != batch.Through && batch.Full() {
			return batch.Events, batch.Through, nil
		}
		batch.Through = p.revision
		if err := addEvent(tx, &batch, prefix, p, v); err != nil {
			return nil, 0, err
		}
	}
	return batch.Events, through, nil
}

// addEvent adds the change that the record b at p made, if it is under prefix.
func addEvent(tx *bbolt.Tx, batch *mvcc.Batch, prefix string, p place, b []byte) error {
	r, err := parseRecord(b)
	if err != nil {
		return fmt.Errorf("%w: record %d.%d: %w", ErrDamaged, p.revision, p.ordinal, err)
	}
	if !bytes.HasPrefix(r.key, []byte(prefix)) {
		return nil
	}
	if r, err = readRecord(tx, p); err != nil {
		return err
	}
	e := store.Event{Deleted: r.deleted, Entry: r.entry(p)}
	if r.prev.revision != 0 {
		if e.Prev, err = readEntry(tx, r.prev); err != nil {
			return err
		}
	}
	if e.Deleted {
		e.Entry.Value = e.Prev.Value
	}
	batch.Add(prefix, &e)
	return nil
}

// remains is one record that a compaction looks at: removes are the places that nobody
// needs any more once floor has reached at.
type remains struct {
	at      place
	key     string
	removes []place
	size    int64
}

// superfluous returns what becomes superfluous with each record after swept, through the
// revision, in whole commits, stopping when more says so.
func superfluous(tx *bbolt.Tx, swept, through store.Revision, more func(at store.Revision, looked int, freed int64) bool) ([]remains, error) {
	var all []remains
	var freed int64
	last := swept
	c := tx.Bucket(bucketRecords).Cursor()
	for k, v := c.Seek(place{swept + 1, 0}.bytes()); k != nil; k, v = c.Next() {
		p, err := parsePlace(k)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if p.revision > through || p.revision != last && !more(p.revision, len(all), freed) {
			break
		}
		last = p.revision
		r, err := parseRecord(v)
		if err != nil {
			return nil, fmt.Errorf("%w: record %d.%d: %w", ErrDamaged, p.revision, p.ordinal, err)
		}
		m := remains{at: p, key: strings.Clone(string(r.key)), size: int64(r.prevSize)}
		if r.prev.revision != 0 {
			m.removes = append(m.removes, r.prev)
		}
		if r.deleted {
			m.removes = append(m.removes, p)
		}
		freed += m.size
		all = append(all, m)
	}
	return all, nil
}
