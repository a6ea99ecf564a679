package boltstore

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"wherry/orchestrator/store"
	"wherry/orchestrator/store/internal/mvcc"
)

// place is the key of a record: the commit and the position in it.
type place struct {
	revision store.Revision
	ordinal  uint16
}

const placeSize = 10

func placeOf(v mvcc.Version) place { return place{v.Revision, v.Ordinal} }

func (p place) bytes() []byte {
	b := make([]byte, placeSize)
	binary.BigEndian.PutUint64(b, p.revision)
	binary.BigEndian.PutUint16(b[8:], p.ordinal)
	return b
}

func parsePlace(b []byte) (place, error) {
	if len(b) != placeSize {
		return place{}, errBadRecord
	}
	return place{binary.BigEndian.Uint64(b), binary.BigEndian.Uint16(b[8:])}, nil
}

// record is what one commit did to one key.
//
//	crc32c of all that follows | flags | created | prev revision, ordinal, size | key length | key | value
//	4                            1       8         8, 2, 4                        2
//
// prev is the record that this one replaces or deletes, with the size that it has in the
// file; its revision is 0 if there is none.
type record struct {
	deleted  bool
	created  store.Revision
	prev     place
	prevSize uint32
	key      []byte
	value    []byte
}

const (
	recordHeader = 4 + 1 + 8 + 8 + 2 + 4 + 2
	flagDeleted  = 1
)

var (
	errBadRecord = errors.New("a record is damaged")
	castagnoli   = crc32.MakeTable(crc32.Castagnoli)
)

// recordSize is the number of bytes that a record of key and value takes.
func recordSize(key string, value []byte) int {
	return placeSize + recordHeader + len(key) + len(value)
}

func (r *record) encode() []byte {
	b := make([]byte, recordHeader, recordHeader+len(r.key)+len(r.value))
	if r.deleted {
		b[4] = flagDeleted
	}
	binary.BigEndian.PutUint64(b[5:], r.created)
	binary.BigEndian.PutUint64(b[13:], r.prev.revision)
	binary.BigEndian.PutUint16(b[21:], r.prev.ordinal)
	binary.BigEndian.PutUint32(b[23:], r.prevSize)
	binary.BigEndian.PutUint16(b[27:], uint16(len(r.key)))
	b = append(append(b, r.key...), r.value...)
	binary.BigEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
	return b
}

// parseRecord reads everything but the checksum; key and value lie in b.
func parseRecord(b []byte) (record, error) {
	if len(b) < recordHeader {
		return record{}, errBadRecord
	}
	n := int(binary.BigEndian.Uint16(b[27:]))
	if n == 0 || n > store.MaxKey || len(b)-recordHeader-n > store.MaxValue || len(b) < recordHeader+n || b[4] > flagDeleted {
		return record{}, errBadRecord
	}
	return record{
		deleted:  b[4] == flagDeleted,
		created:  binary.BigEndian.Uint64(b[5:]),
		prev:     place{binary.BigEndian.Uint64(b[13:]), binary.BigEndian.Uint16(b[21:])},
		prevSize: binary.BigEndian.Uint32(b[23:]),
		key:      b[recordHeader : recordHeader+n],
		value:    b[recordHeader+n:],
	}, nil
}

// verifyRecord is parseRecord with the checksum, which reads all of b.
func verifyRecord(b []byte) (record, error) {
	r, err := parseRecord(b)
	if err == nil && binary.BigEndian.Uint32(b) != crc32.Checksum(b[4:], castagnoli) {
		return record{}, errBadRecord
	}
	return r, err
}

// entry copies what the record at p says out of the file.
func (r *record) entry(p place) store.Entry {
	return store.Entry{
		Key:      string(r.key),
		Value:    append([]byte{}, r.value...),
		Created:  r.created,
		Revision: p.revision,
	}
}

// counters are numbers that change with every transaction; see the package comment.
type counters struct {
	newest, floor, swept, ceiling store.Revision
}

const countersSize = 32

func (c counters) bytes() []byte {
	b := make([]byte, 0, countersSize)
	for _, n := range []uint64{c.newest, c.floor, c.swept, c.ceiling} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return b
}

func parseCounters(b []byte) (counters, error) {
	if len(b) != countersSize {
		return counters{}, errors.New("the counters are damaged")
	}
	var n [4]uint64
	for i := range n {
		n[i] = binary.BigEndian.Uint64(b[8*i:])
	}
	c := counters{n[0], n[1], n[2], n[3]}
	if c.swept > c.floor || c.floor > c.newest || c.newest > c.ceiling {
		return counters{}, errors.New("the counters contradict each other")
	}
	return c, nil
}

// gap is a range of revisions, both ends included, that may have been shown but whose
// commits are lost.
type gap struct{ first, last store.Revision }

func (g gap) key() []byte   { return binary.BigEndian.AppendUint64(nil, g.first) }
func (g gap) value() []byte { return binary.BigEndian.AppendUint64(nil, g.last) }

func parseGap(k, v []byte) (gap, error) {
	if len(k) != 8 || len(v) != 8 {
		return gap{}, errors.New("a gap is damaged")
	}
	return gap{binary.BigEndian.Uint64(k), binary.BigEndian.Uint64(v)}, nil
}
