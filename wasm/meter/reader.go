package meter

import (
	"fmt"
	"unicode/utf8"
)

// failure carries an error out of the parser by panic; Rewrite recovers it and nothing else.
type failure struct{ error }

func malformed(format string, a ...any) {
	panic(failure{fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, a...))})
}

func unsupported(format string, a ...any) {
	panic(failure{fmt.Errorf("%w: %s", ErrUnsupported, fmt.Sprintf(format, a...))})
}

// reader walks over bytes; running out of them is malformed.
type reader struct {
	b   []byte
	pos int
}

func (r *reader) done() bool { return r.pos == len(r.b) }
func (r *reader) left() int  { return len(r.b) - r.pos }

func (r *reader) byte() byte {
	if r.pos >= len(r.b) {
		malformed("unexpected end")
	}
	c := r.b[r.pos]
	r.pos++
	return c
}

// take returns the next n bytes, not a copy.
func (r *reader) take(n uint32) []byte {
	if uint64(n) > uint64(r.left()) {
		malformed("unexpected end")
	}
	b := r.b[r.pos : r.pos+int(n)]
	r.pos += int(n)
	return b
}

// sub returns a reader of the next n bytes.
func (r *reader) sub(n uint32) *reader { return &reader{b: r.take(n)} }

// u32 reads an unsigned LEB128 number of at most 32 bits.
func (r *reader) u32() uint32 {
	var v uint32
	for shift := 0; ; shift += 7 {
		c := r.byte()
		if shift == 28 && c > 0x0f {
			malformed("number out of range")
		}
		v |= uint32(c&0x7f) << shift
		if c < 0x80 {
			return v
		}
	}
}

// skipSigned passes over a signed LEB128 number of at most the given bits and returns its bytes.
func (r *reader) skipSigned(bits int) []byte {
	start := r.pos
	for n := 0; ; n++ {
		if n*7 >= bits {
			malformed("number out of range")
		}
		if r.byte() < 0x80 {
			return r.b[start:r.pos]
		}
	}
}

// count reads how many entries follow, each of at least size bytes, and at most limit.
func (r *reader) count(what string, size, limit int) int {
	n := r.u32()
	if uint64(n)*uint64(size) > uint64(r.left()) {
		malformed("more %s than bytes", what)
	}
	if int(n) > limit {
		unsupported("%d %s, at most %d are allowed", n, what, limit)
	}
	return int(n)
}

// name reads a length and UTF-8 text.
func (r *reader) name() []byte {
	b := r.take(r.u32())
	if !utf8.Valid(b) {
		malformed("a name is not UTF-8")
	}
	return b
}

// appendU32 appends v as unsigned LEB128.
func appendU32(b []byte, v uint32) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

// appendS32 appends v as signed LEB128.
func appendS32(b []byte, v int32) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if (v == 0 && c&0x40 == 0) || (v == -1 && c&0x40 != 0) {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

// appendName appends a length and the text.
func appendName(b []byte, s string) []byte {
	return append(appendU32(b, uint32(len(s))), s...)
}

// appendBlock appends a length and the bytes.
func appendBlock(b, block []byte) []byte {
	return append(appendU32(b, uint32(len(block))), block...)
}
