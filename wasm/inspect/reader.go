package inspect

import (
	"strings"
	"unicode/utf8"
)

// reader walks over bytes; running out of them is malformed.
type reader struct{ b []byte }

func (r *reader) byte() byte { return r.take(1)[0] }

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		malformed("unexpected end")
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

// u32 reads an unsigned LEB128 number. It takes up to 64 bits: limits of 64-bit memories have them.
func (r *reader) u32() uint64 {
	var v uint64
	for shift := 0; shift < 64; shift += 7 {
		c := r.byte()
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return v
		}
	}
	malformed("number out of range")
	return 0
}

func (r *reader) name() string {
	b := r.take(r.u32())
	if !utf8.Valid(b) {
		malformed("a name is not UTF-8")
	}
	return string(b)
}

// limits reads the limits of a table or memory, and their flags.
func (r *reader) limits() (least, most uint64, flags byte) {
	flags = r.byte()
	least = r.u32()
	if flags&1 != 0 {
		most = r.u32()
	}
	return least, most, flags
}

var valueNames = map[byte]string{
	0x7f: "i32", 0x7e: "i64", 0x7d: "f32", 0x7c: "f64", 0x7b: "v128", 0x70: "funcref", 0x6f: "externref",
	0x69: "exnref",
}

// value reads a value type; references to types are told no further.
func (r *reader) value() string {
	t := r.byte()
	if t == 0x63 || t == 0x64 { // a reference to a heap type, which is a signed number
		r.u32()
		return "ref"
	}
	if name, ok := valueNames[t]; ok {
		return name
	}
	return "ref"
}

func (r *reader) values() string {
	var list []string
	for n := r.u32(); n > 0; n-- {
		list = append(list, r.value())
	}
	return "(" + strings.Join(list, ", ") + ")"
}
