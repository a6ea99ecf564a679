package meter

import (
	"errors"
	"slices"
	"testing"

	"wherry/wasm/wasmtest"
)

// TestPassiveSegmentsAreBounded: memory.init cannot be made to copy for long.
func TestPassiveSegmentsAreBounded(t *testing.T) {
	module := func(flag byte, size int) []byte {
		content := appendBlock([]byte{1, flag}, make([]byte, size))
		if flag == 0 {
			content = appendBlock([]byte{1, flag, opI32Const, 0, opEnd}, make([]byte, size))
		}
		wasm := append(append([]byte(nil), header...), secMemory, 4, 1, 0, 0x80, 0x20) // 4096 pages
		return appendBlock(append(wasm, secData), content)
	}
	for name, test := range map[string]struct {
		wasm []byte
		want error
	}{
		"passive":            {module(1, maxPassive), nil},
		"passive, too large": {module(1, maxPassive+1), ErrUnsupported},
		"active":             {module(0, maxPassive+1), nil},
	} {
		if _, err := Rewrite(test.wasm, Options{}); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTakeData(t *testing.T) {
	at := func(offset int64, data string) string {
		return "\x00\x41" + string(wasmtest.S32(offset)) + "\x0b" + string(rune(len(data))) + data
	}
	const passive = "\x01\x02pp"
	tests := map[string]struct {
		least    uint32 // pages
		count    bool   // there is a data count section
		segments []string
		want     []Segment // nil: they stay
		section  string
	}{
		"none":         {least: 1},
		"one":          {least: 1, segments: []string{at(8, "ab")}, want: []Segment{{8, []byte("ab")}}},
		"in order":     {least: 1, segments: []string{at(8, "ab"), at(7, "cd")}, want: []Segment{{8, []byte("ab")}, {7, []byte("cd")}}},
		"last byte":    {least: 1, segments: []string{at(65535, "a")}, want: []Segment{{65535, []byte("a")}}},
		"beyond":       {least: 1, segments: []string{at(65535, "ab")}},
		"beyond 2 GiB": {least: 65536, segments: []string{at(-2, "a")}, want: []Segment{{1<<32 - 2, []byte("a")}}},
		"named":        {least: 1, count: true, segments: []string{at(8, "ab"), passive}, want: []Segment{{8, []byte("ab")}}, section: "\x02\x01\x00" + passive},
		"a global":     {least: 1, segments: []string{at(8, "ab"), "\x00\x23\x00\x0b\x01a"}},
		"an addition":  {least: 1, segments: []string{"\x00\x41\x01\x41\x01\x6a\x0b\x01a"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := &module{memories: 1, least: test.least}
			content := appendU32(nil, uint32(len(test.segments)))
			for _, s := range test.segments {
				content = append(content, s...)
			}
			m.sections[secData] = content
			if test.count {
				m.sections[secDataCount] = []byte{0}
			}
			segments, section, ok := m.takeData()
			if ok != (test.want != nil) {
				t.Fatalf("taken: %v", ok)
			}
			if !ok {
				test.section = string(content)
			}
			same := func(a, b Segment) bool { return a.Offset == b.Offset && string(a.Bytes) == string(b.Bytes) }
			if !slices.EqualFunc(segments, test.want, same) || string(section) != test.section {
				t.Errorf("taken %v, left %q", segments, section)
			}
		})
	}
}
