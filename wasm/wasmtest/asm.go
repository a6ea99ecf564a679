package wasmtest

// Value types.
const (
	I32     byte = 0x7f
	I64     byte = 0x7e
	FuncRef byte = 0x70
)

// Func is a function of a Module.
type Func struct {
	Export          string // "" for none
	Params, Results []byte // value types
	Locals          []byte // value types
	// Code is the instructions, without the last end.
	Code []byte
}

// Import is an imported function.
type Import struct {
	Module, Name    string
	Params, Results []byte
}

// Module is a module assembled by hand. Function indices count the imports first, and types are numbered as
// the functions are, imports first.
type Module struct {
	Imports []Import
	Funcs   []Func
	// Memory is the pages at the start and at most; exported as "memory". nil: none.
	Memory *[2]uint32
	// Table is filled with these functions.
	Table []uint32
	// Data is put into memory at address 0.
	Data []byte
	// Start is the start function; nil: none.
	Start *uint32
	// Name is the module's name; the functions are named by their exports. "" omits the name section.
	Name string
}

// Bytes returns the binary.
func (m Module) Bytes() []byte {
	out := []byte{0, 'a', 's', 'm', 1, 0, 0, 0}
	var types, imports, funcs, exports, code, names [][]byte
	for i, f := range m.Imports {
		types = append(types, signature(f.Params, f.Results))
		entry := append(text(f.Module), text(f.Name)...)
		imports = append(imports, append(append(entry, 0), U32(uint32(i))...))
	}
	for i, f := range m.Funcs {
		index := U32(uint32(len(m.Imports) + i))
		types = append(types, signature(f.Params, f.Results))
		funcs = append(funcs, index)
		if f.Export != "" {
			exports = append(exports, append(append(text(f.Export), 0), index...))
			names = append(names, append(index, text(f.Export)...))
		}
		code = append(code, sized(f.body()))
	}
	if m.Memory != nil {
		exports = append(exports, append(text("memory"), 2, 0))
	}
	out = section(out, 1, types)
	out = section(out, 2, imports)
	out = section(out, 3, funcs)
	if len(m.Table) > 0 {
		n := U32(uint32(len(m.Table)))
		out = section(out, 4, [][]byte{append([]byte{FuncRef, 0}, n...)})
	}
	if m.Memory != nil {
		limits := append([]byte{1}, U32(m.Memory[0])...)
		out = section(out, 5, [][]byte{append(limits, U32(m.Memory[1])...)})
	}
	out = section(out, 7, exports)
	if m.Start != nil {
		out = append(append(out, 8), sized(U32(*m.Start))...)
	}
	if len(m.Table) > 0 {
		segment := append([]byte{0, 0x41, 0, 0x0b}, U32(uint32(len(m.Table)))...)
		for _, f := range m.Table {
			segment = append(segment, U32(f)...)
		}
		out = section(out, 9, [][]byte{segment})
	}
	out = section(out, 10, code)
	if m.Data != nil {
		out = section(out, 11, [][]byte{append([]byte{0, 0x41, 0, 0x0b}, sized(m.Data)...)})
	}
	if m.Name != "" {
		body := append(text("name"), append([]byte{0}, sized(text(m.Name))...)...)
		body = append(append(body, 1), sized(vector(names))...)
		out = append(append(out, 0), sized(body)...)
	}
	return out
}

func (f Func) body() []byte {
	var locals [][]byte
	for _, t := range f.Locals {
		locals = append(locals, []byte{1, t})
	}
	return append(append(vector(locals), f.Code...), 0x0b)
}

func signature(params, results []byte) []byte {
	return append(append([]byte{0x60}, sized(params)...), sized(results)...)
}

func section(out []byte, id byte, entries [][]byte) []byte {
	if len(entries) == 0 {
		return out
	}
	return append(append(out, id), sized(vector(entries))...)
}

func vector(entries [][]byte) []byte {
	out := U32(uint32(len(entries)))
	for _, e := range entries {
		out = append(out, e...)
	}
	return out
}

func sized(b []byte) []byte { return append(U32(uint32(len(b))), b...) }
func text(s string) []byte  { return sized([]byte(s)) }

// U32 encodes v as unsigned LEB128.
func U32(v uint32) (b []byte) {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

// S32 encodes v as signed LEB128, as i32.const and i64.const have it.
func S32(v int64) (b []byte) {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if (v == 0 && c&0x40 == 0) || (v == -1 && c&0x40 != 0) {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

// Code joins opcodes (byte or int), encoded immediates ([]byte).
func Code(parts ...any) (b []byte) {
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			b = append(b, byte(p))
		case byte:
			b = append(b, p)
		case []byte:
			b = append(b, p...)
		}
	}
	return b
}
