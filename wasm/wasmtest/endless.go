package wasmtest

// Opcodes that the guests below are made of.
const (
	opUnreachable = 0x00
	opBlock       = 0x02
	opLoop        = 0x03
	opIf          = 0x04
	opEnd         = 0x0b
	opBr          = 0x0c
	opBrIf        = 0x0d
	opBrTable     = 0x0e
	opCall        = 0x10
	opIndirect    = 0x11
	opTailCall    = 0x12
	opDrop        = 0x1a
	opGet         = 0x20
	opSet         = 0x21
	opLoad        = 0x28
	opStore       = 0x36
	opGrow        = 0x40
	opI32         = 0x41
	opEqz         = 0x45
	opAdd         = 0x6a
	opDivU        = 0x6e
	void          = 0x40
)

// yield imports a function that a guest calls first, so that tests know that it runs; its result is dropped.
var yield = []Import{{Module: "wasi_snapshot_preview1", Name: "sched_yield", Results: []byte{I32}}}

var started = Code(opCall, 0, opDrop)

// most is how many pages a memory may have: wazero takes one of 65536 for an empty one.
const most = 65535

func pages(least, most uint32) *[2]uint32 { return &[2]uint32{least, most} }

// Endless returns guests that never end by themselves, by what they do. Each calls sched_yield once, first.
func Endless() map[string][]byte {
	spin := Code(opLoop, void, opBr, 0, opEnd)
	start := uint32(1)
	guests := map[string]Module{
		"spin": {Funcs: []Func{{Code: Code(started, spin)}}},
		"start function": {Start: &start, Funcs: []Func{
			{Code: Code(started, spin)}, {Export: "_start"},
		}},
		"br_table": {Funcs: []Func{{Code: Code(started,
			opLoop, void, opBlock, void, opI32, 7, opBrTable, 2, 1, 0, 1, opEnd, opEnd)}}},
		"loop with a parameter": {Funcs: []Func{
			{Code: Code(started, opI32, 1, opLoop, 2, opI32, 1, opAdd, opBr, 0, opEnd, opDrop)},
			{Params: []byte{I32}, Results: []byte{I32}, Code: Code(opGet, 0)},
		}},
		"tail calls": {Funcs: []Func{
			{Code: Code(started, opCall, 2)}, {Code: Code(opTailCall, 3)}, {Code: Code(opTailCall, 2)},
		}},
		"tree of calls":      {Funcs: tree(40)},
		"tree through table": treeThroughTable(40),
		"fill": {Memory: pages(most, most), Funcs: []Func{{Code: Code(started,
			opLoop, void, opI32, 0, opI32, 1, opI32, S32(most<<16-1<<32), 0xfc, 11, 0, opBr, 0, opEnd)}}},
		"copy down": {Memory: pages(most, most), Funcs: []Func{{Code: Code(started,
			opLoop, void, opI32, 0, opI32, 8, opI32, S32(most<<16-8-1<<32), 0xfc, 10, 0, 0, opBr, 0, opEnd)}}},
		"copy up": {Memory: pages(most, most), Funcs: []Func{{Code: Code(started,
			opLoop, void, opI32, 8, opI32, 0, opI32, S32(most<<16-8-1<<32), 0xfc, 10, 0, 0, opBr, 0, opEnd)}}},
		"far apart checks":  {Funcs: []Func{{Locals: []byte{I32}, Code: Code(started, evasive())}}},
		"divisions":         {Funcs: []Func{{Locals: []byte{I32}, Code: Code(started, opLoop, void, divisions(5000), opBr, 0, opEnd)}}},
		"growing":           {Memory: pages(1, 65536), Funcs: []Func{{Code: Code(started, opLoop, void, opI32, 0, opGrow, 0, opDrop, opBr, 0, opEnd)}}},
		"calls of the host": {Funcs: []Func{{Code: Code(started, opLoop, void, started, opBr, 0, opEnd)}}},
	}
	out := map[string][]byte{}
	for name, m := range guests {
		m.Imports = yield
		if m.Start == nil {
			m.Funcs[0].Export = "_start"
		}
		m.Name = name
		out[name] = m.Bytes()
	}
	return out
}

// tree makes functions that call the next one twice: 2^depth calls without any loop.
func tree(depth int) []Func {
	funcs := []Func{{Code: Code(started, opCall, U32(2))}}
	for i := range depth {
		next := U32(uint32(i + 3))
		funcs = append(funcs, Func{Code: Code(opCall, next, opCall, next)})
	}
	return append(funcs, Func{})
}

func treeThroughTable(depth int) Module {
	m := Module{Funcs: []Func{{Code: Code(started, opI32, 0, opIndirect, 1, 0)}}}
	for i := range depth {
		next := Code(opI32, S32(int64(i+1)), opIndirect, 1, 0)
		m.Funcs = append(m.Funcs, Func{Code: Code(next, next)})
		m.Table = append(m.Table, uint32(i+2))
	}
	m.Funcs = append(m.Funcs, Func{})
	m.Table = append(m.Table, uint32(depth+2))
	return m
}

// evasive is a loop whose body is long and whose branches jump over much of it.
func evasive() []byte {
	var body []byte
	for range 2000 {
		body = append(body, Code(divisions(20), opGet, 0, opIf, void, divisions(20), opEnd)...)
	}
	return Code(opLoop, void, body, opBr, 0, opEnd)
}

func divisions(n int) (code []byte) {
	code = Code(opI32, 0)
	for range n {
		code = append(code, Code(opGet, 0, opI32, 3, opDivU, opAdd)...)
	}
	return Code(code, opDrop)
}

// Recursion is a guest that calls itself until the stack ends.
func Recursion() []byte {
	return Module{Imports: yield, Name: "recursion", Funcs: []Func{
		{Export: "_start", Code: Code(started, opCall, 2)},
		{Export: "deeper", Code: Code(opCall, 2, opCall, 2)},
	}}.Bytes()
}

// Trap is a guest whose function "fails" executes unreachable.
func Trap() []byte {
	return Module{Name: "trap", Funcs: []Func{
		{Export: "_start", Code: Code(opCall, 1)},
		{Export: "fails", Code: Code(opUnreachable)},
	}}.Bytes()
}

// Hungry is a guest that grows its memory by a megabyte at a time and traps when there is no more.
func Hungry() []byte {
	grow := Code(opLoop, void, opI32, 16, opGrow, 0, opI32, S32(-1), 0x46, opEqz, opBrIf, 0, opEnd, opUnreachable)
	return Module{Name: "hungry", Memory: pages(1, 65536), Funcs: []Func{{Export: "_start", Code: grow}}}.Bytes()
}

// Changes is a guest that traps unless its memory begins as its data says, and then changes it.
func Changes() []byte {
	differs := Code(opI32, 0, opLoad, 2, 0, opI32, S32(0x64636261), 0x47) // "abcd", little-endian; i32.ne
	return Module{Name: "changes", Memory: pages(1, 4), Data: []byte("abcd"), Funcs: []Func{{Export: "_start", Code: Code(
		differs, opIf, void, opUnreachable, opEnd, opI32, 0, opI32, 1, opStore, 2, 0, opI32, 2, opGrow, 0, opDrop,
	)}}}.Bytes()
}

// Nothing is a guest that ends at once.
func Nothing() []byte {
	return Module{Name: "nothing", Memory: pages(1, 1), Funcs: []Func{{Export: "_start"}}}.Bytes()
}
