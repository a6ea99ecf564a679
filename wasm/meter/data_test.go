package meter

import (
	"bytes"
	"fmt"
	"testing"
)

// dataSection writes active segments at constant offsets.
func dataSection(segments ...segment) []byte {
	b := appendU32(nil, uint32(len(segments)))
	for _, s := range segments {
		b = append(b, 0, opI32Const)
		b = appendS32(b, int32(uint32(s.offset)))
		b = append(b, opEnd)
		b = appendBlock(b, s.init)
	}
	return b
}

func TestDataSegmentsAreMergedWhereNobodyCanTell(t *testing.T) {
	one := func(offset uint64, init string) segment { return segment{offset, []byte(init)} }
	for _, c := range []struct {
		name      string
		in, want  []segment
		untouched bool
	}{
		{name: "neighbours", in: []segment{one(8, "ab"), one(12, "c")}, want: []segment{one(8, "ab\x00\x00c")}},
		{name: "touching", in: []segment{one(0, "a"), one(1, "b"), one(2, "c")}, want: []segment{one(0, "abc")}},
		{name: "far apart", in: []segment{one(0, "a"), one(2+maxGap, "b")}, want: []segment{one(0, "a"), one(2+maxGap, "b")}},
		{name: "beyond 2 GiB", in: []segment{one(1<<31, "a"), one(1<<31+2, "b")}, want: []segment{one(1<<31, "a\x00b")}},
		{name: "overlap", in: []segment{one(0, "ab"), one(1, "c")}, untouched: true},
		{name: "descending", in: []segment{one(9, "a"), one(1, "c")}, untouched: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := dataSection(c.in...)
			m := &module{}
			m.sections[secData], m.sections[secMemory] = in, []byte{1, 0, 1}
			want := dataSection(c.want...)
			if c.untouched {
				want = in
			}
			if got := m.data(); !bytes.Equal(got, want) {
				t.Errorf("% x, want % x", got, want)
			}
			m.sections[secDataCount] = []byte{byte(len(c.in))}
			if got := m.data(); !bytes.Equal(got, in) {
				t.Errorf("segments that instructions may name were changed: % x", got)
			}
		})
	}
}

func TestSignedNumbers(t *testing.T) {
	for _, v := range []int32{0, 1, -1, 63, 64, -64, -65, 1 << 20, -1 << 20, 1<<31 - 1, -1 << 31} {
		t.Run(fmt.Sprint(v), func(t *testing.T) {
			r := &reader{b: appendS32(nil, v)}
			if got := s32(r.skipSigned(32)); got != v {
				t.Errorf("%d", got)
			}
		})
	}
}
