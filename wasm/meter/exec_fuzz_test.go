package meter

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// FuzzExecution makes modules of bytes and runs each as it is and metered: both must return the same or trap for the same
// reason, and leave the same memory, globals and table.
func FuzzExecution(f *testing.F) {
	for _, seed := range []string{"", "a few loops and calls", "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f",
		strings.Repeat("\x09\x03\x05", 40), strings.Repeat("\x0b\x06\x02\x0c\x01", 40), strings.Repeat("loop in a loop in a block", 20)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, choices []byte) {
		g := &generator{choices: choices}
		wasm := g.module()
		h := newHost(t, wazero.NewRuntimeConfig())
		plain, metered := execute(t, h, wasm), execute(t, h, rewrite(t, wasm))
		if plain != metered {
			t.Errorf("metered\n%s\nplain\n%s\nof %x", metered, plain, wasm)
		}
	})
}

// TestGeneratedModules runs modules of numbers that look random, so that much is met without fuzzing.
func TestGeneratedModules(t *testing.T) {
	h := newHost(t, wazero.NewRuntimeConfig())
	kinds := map[string]int{}
	for seed := range uint32(300) {
		g := &generator{choices: random(seed, 400)}
		wasm := g.module()
		plain := execute(t, h, wasm)
		if metered := execute(t, h, rewrite(t, wasm)); plain != metered {
			t.Fatalf("seed %d: metered\n%s\nplain\n%s\nof %x", seed, metered, plain, wasm)
		}
		kind, _, _ := strings.Cut(plain, " ")
		kinds[kind]++
	}
	t.Log(kinds)
	if kinds["returned"] < 50 || kinds["trapped:"] < 10 {
		t.Errorf("they are not worth much: %v", kinds)
	}
}

func random(seed uint32, n int) []byte {
	b := make([]byte, n)
	x := seed*2654435761 + 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x >> 8)
	}
	return b
}

// execute runs a generated module and describes how it ended.
func execute(t *testing.T, h *host, wasm []byte) string {
	t.Helper()
	m, err := h.InstantiateWithConfig(t.Context(), wasm, wazero.NewModuleConfig().WithName(""))
	if err != nil {
		t.Fatalf("it is not valid: %v\n%x", err, wasm)
	}
	defer m.Close(t.Context())
	result, err := m.ExportedFunction("run").Call(t.Context(), 3, 5)
	outcome := fmt.Sprint("returned ", result)
	if err != nil {
		text, _, _ := strings.Cut(err.Error(), "\n")
		outcome = "trapped: " + text
	}
	memory, _ := m.Memory().Read(0, m.Memory().Size())
	size, err := m.ExportedFunction("size").Call(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(outcome, " globals ", globals(m), " memory ", len(memory), " ", hash(memory), " table ", size)
}

func globals(m api.Module) (values []uint64) {
	for i := range generatedGlobals {
		values = append(values, m.ExportedGlobal(fmt.Sprint("g", i)).Get())
	}
	return values
}

func hash(b []byte) (sum uint64) {
	b = bytes.TrimRight(b, "\x00")
	for _, c := range b {
		sum = sum*1099511628211 ^ uint64(c)
	}
	return sum
}

const (
	generatedFuncs   = 3
	generatedGlobals = 2
	generatedLocals  = 3 // beside two parameters, and a counter for each loop
	maxLoops         = 3 // of a function
	maxDepth         = 5
)

// generator makes a valid module of choices; when they run out it takes the simplest. Functions call later ones only, and
// loops count down: every module ends, soon.
type generator struct {
	choices []byte
	fn      int    // which function is being made
	loops   int    // of it, so far
	looping int    // that are open
	costly  int    // calls and bulk instructions, so far
	labels  []bool // of the blocks that are open, the function's first: true for one that may not be branched to
}

// choose returns a number below n.
func (g *generator) choose(n int) int {
	if len(g.choices) == 0 {
		return 0
	}
	c := int(g.choices[0])
	g.choices = g.choices[1:]
	return c % n
}

func (g *generator) module() []byte {
	section := func(id byte, content ...[]byte) []byte { return appendBlock([]byte{id}, bytes.Join(content, nil)) }
	var codes [][]byte
	for g.fn = range generatedFuncs {
		codes = append(codes, appendBlock(nil, g.function()))
	}
	codes = append(codes, appendBlock(nil, []byte{0, opMisc, miscTableSize, 0, opEnd}))
	export := func(name string, kind, index byte) []byte { return append(appendName(nil, name), kind, index) }
	return bytes.Join([][]byte{
		header,
		section(secType, []byte{2, 0x60, 2, 0x7f, 0x7f, 1, 0x7f, 0x60, 0, 1, 0x7f}),
		section(secFunction, []byte{generatedFuncs + 1, 0, 0, 0, 1}),
		section(secTable, []byte{1, 0x70, 1, 4, 20}),
		section(secMemory, []byte{1, 1, 6, 10}),
		section(secGlobal, []byte{generatedGlobals, 0x7f, 1, opI32Const, 7, opEnd, 0x7f, 1, opI32Const, 9, opEnd}),
		section(secExport, []byte{5}, export("run", 0, 0), export("size", 0, generatedFuncs), export("memory", 2, 0),
			export("g0", 3, 0), export("g1", 3, 1)),
		section(secElement, []byte{1, 0, opI32Const, 1, opEnd, 2, 1, 2}), // entries 1 and 2 are functions 1 and 2
		section(secDataCount, []byte{1}),
		section(secCode, append([][]byte{{generatedFuncs + 1}}, codes...)...),
		section(secData, []byte{1, 1, 8}, []byte("datadata")),
	}, nil)
}

func (g *generator) function() []byte {
	g.loops, g.looping, g.costly, g.labels = 0, 0, 0, []bool{true}
	a := asm{1, generatedLocals + maxLoops, 0x7f}
	for range 2 + g.choose(6) {
		a = g.statement(a, maxDepth)
	}
	return g.value(a, maxDepth).op(opEnd)
}

// local is one that may be set.
func (g *generator) local() uint32 { return uint32(g.choose(2 + generatedLocals)) }

// statement adds instructions that leave the stack as it is.
func (g *generator) statement(a asm, depth int) asm {
	if depth == 0 {
		return a.i32(int32(g.choose(100))).set(g.local())
	}
	value := func(a asm) asm { return g.value(a, depth-1) }
	switch g.choose(16) {
	case 0, 1:
		return value(a).set(g.local())
	case 2:
		return value(a).setGlobal(uint32(g.choose(generatedGlobals)))
	case 3:
		return appendU32(value(g.address(a, depth)).op(0x36, 0), 0) // i32.store
	case 4, 5:
		return g.block(value(a).op(opIf, blockVoid), depth, true)
	case 6:
		return g.block(a.op(opBlock, blockVoid), depth, false)
	case 7, 8, 9:
		return g.loop(a, depth)
	case 10:
		l, ok := g.label()
		if !ok {
			return value(a).op(opDrop)
		}
		return value(a).brIf(l)
	case 11:
		g.labels = append(g.labels, false)
		var targets []uint32
		for range 1 + g.choose(4) {
			l, _ := g.label() // the block's, if nothing else
			targets = append(targets, l)
		}
		a = appendLabels(value(a.op(opBlock, blockVoid)).op(opBrTable), targets)
		g.labels = g.labels[:len(g.labels)-1]
		return a.op(opEnd)
	case 12: // at most a little beyond memory
		if g.tooCostly() {
			return a
		}
		return a.i32(int32(g.choose(4)*10_000)).i32(int32(g.choose(200))).i32(int32(g.choose(5)*98_000)).op(opMisc, miscMemoryFill, 0)
	case 13:
		if g.tooCostly() {
			return a
		}
		return a.i32(int32(g.choose(4)*10_000)).i32(int32(g.choose(4)*10_001)).i32(int32(g.choose(5)*98_000)).op(opMisc, miscMemoryCopy, 0, 0)
	case 14:
		return g.address(a, depth).i32(int32(g.choose(2))).i32(int32(g.choose(8))).op(opMisc, miscMemoryInit, 0, 0)
	default:
		if g.choose(6) > 0 {
			return value(a).op(opDrop)
		}
		return value(a).op(opIf, blockVoid, opUnreachable, opEnd)
	}
}

// tooCostly counts what takes long, and says when a function has enough of it.
func (g *generator) tooCostly() bool {
	g.costly++
	return g.costly > 4
}

// address adds a value that is mostly within memory.
func (g *generator) address(a asm, depth int) asm {
	mask := int32(0xffff)
	if g.choose(20) == 19 {
		mask = -1
	}
	return g.value(a, depth-1).i32(mask).op(0x71) // i32.and
}

func appendLabels(a asm, labels []uint32) asm {
	a = appendU32(a, uint32(len(labels)-1))
	for _, l := range labels {
		a = appendU32(a, l)
	}
	return a
}

// label is one that a branch without values may lead to, if there is one: forward only, since ways back are for loops that
// count.
func (g *generator) label() (label uint32, ok bool) {
	for range 4 {
		if l := g.choose(len(g.labels)); !g.labels[len(g.labels)-1-l] {
			return uint32(l), true
		}
	}
	for l := range g.labels {
		if !g.labels[len(g.labels)-1-l] {
			return uint32(l), true
		}
	}
	return 0, false
}

// block adds what is in a block that has just been opened, with an else perhaps, and its end.
func (g *generator) block(a asm, depth int, otherwise bool) asm {
	g.labels = append(g.labels, false)
	for range 1 + g.choose(3) {
		a = g.statement(a, depth-1)
	}
	if otherwise && g.choose(2) == 1 {
		a = g.statement(a.op(opElse), depth-1)
	}
	g.labels = g.labels[:len(g.labels)-1]
	return a.op(opEnd)
}

// loop adds a loop that counts down in a local of its own.
func (g *generator) loop(a asm, depth int) asm {
	if g.loops == maxLoops || g.looping == 2 {
		return a.op(0x01) // nop
	}
	counter := uint32(2 + generatedLocals + g.loops)
	g.loops++
	g.looping++
	a = a.i32(int32(1+g.choose(3))).set(counter).op(opLoop, blockVoid)
	g.labels = append(g.labels, true)
	a = g.block(a.op(opBlock, blockVoid), depth, false)
	a = a.get(counter).i32(1).op(opI32Sub).tee(counter)
	if g.choose(2) == 0 {
		a = a.brIf(0)
	} else { // the other way back
		a = a.op(opIf, blockVoid).br(1).op(opEnd)
	}
	g.labels = g.labels[:len(g.labels)-1]
	g.looping--
	return a.op(opEnd)
}

// value adds instructions that leave an i32.
func (g *generator) value(a asm, depth int) asm {
	if depth == 0 {
		return a.i32(int32(g.choose(256)) - 100)
	}
	value := func(a asm) asm { return g.value(a, depth-1) }
	switch g.choose(14) {
	case 0:
		return a.i32(int32(g.choose(256)) - 100)
	case 1, 2:
		return a.get(g.local())
	case 3:
		return a.getGlobal(uint32(g.choose(generatedGlobals)))
	case 4, 5:
		return value(value(a)).op([]byte{opI32Add, opI32Sub, opI32Mul, opI32ShrU, 0x71, 0x73, opI32LtS}[g.choose(7)])
	case 6:
		return value(value(a)).i32(int32(min(1, g.choose(20)))).op(0x72, 0x6e) // i32.or, i32.div_u: seldom by zero
	case 7:
		return appendU32(g.address(a, depth).op(0x28, 0), uint32(g.choose(200))) // i32.load
	case 8:
		return value(value(value(a))).op(0x1b) // select
	case 9:
		return a.op(opMemorySize, 0)
	case 10:
		return a.i32(int32(g.choose(3))).op(opMemoryGrow, 0)
	case 11:
		return a.op(opRefNull, 0x70).i32(int32(g.choose(12))).op(opMisc, miscTableGrow, 0)
	case 12:
		if g.fn+1 == generatedFuncs || g.tooCostly() {
			return a.get(0)
		}
		return value(value(a)).call(uint32(g.fn + 1 + g.choose(generatedFuncs-g.fn-1)))
	default:
		if g.fn+1 == generatedFuncs || g.tooCostly() {
			return a.get(1)
		}
		return value(value(a)).i32(int32(g.fn+1)).op(opCallIndirect, 0, 0)
	}
}
