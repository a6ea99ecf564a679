package boltstore

import (
	"bytes"
	"testing"
)

func FuzzRecord(f *testing.F) {
	whole := record{created: 7, prev: place{9, 3}, prevSize: 55, key: []byte("/core/pods/a/b"), value: []byte("value")}
	gone := record{deleted: true, created: 7, prev: place{9, 0}, prevSize: 55, key: []byte("k")}
	for _, r := range []record{whole, gone, {key: []byte("k"), value: []byte{}}} {
		f.Add(r.encode())
	}
	f.Add([]byte{})
	f.Add(make([]byte, recordHeader))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := verifyRecord(b)
		if err != nil {
			return
		}
		if again := r.encode(); !bytes.Equal(again, b) {
			t.Errorf("%x becomes %x", b, again)
		}
		damaged := bytes.Clone(b)
		damaged[len(b)-1]++
		if _, err := verifyRecord(damaged); err == nil {
			t.Errorf("damage at the end of %x is not seen", b)
		}
	})
}

func FuzzMeta(f *testing.F) {
	f.Add(make([]byte, 128))
	f.Add(bytes.Repeat([]byte{0xED, 0xDA, 0x0C, 0xED}, 2048))
	f.Fuzz(func(t *testing.T, b []byte) {
		metas, err := readMetas(bytes.NewReader(b))
		if (err == nil) != (len(metas) > 0) {
			t.Errorf("%d descriptions, %v", len(metas), err)
		}
	})
}
