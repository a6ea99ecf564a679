package meter

// Types that are added after those of the module.
const (
	typeRefill = iota // (i32) -> (i32): tick, refill, draw
	typeSlow          // () -> ()
	typeBulk          // (i32, i32, i32) -> ()
	addedTypes
)

// Functions that are added after those of the module.
const (
	helperSlow     = iota // budget = tick(budget)
	helperRefill          // (allowance) -> new allowance, drawn from the budget
	helperDraw            // (n) -> n: pays for n bytes or entries
	helperGrow            // (n) -> n or a number that is too large: asks whether a table may grow by n entries
	helperFill            // memory.fill in pieces; only with a memory
	helperCopy            // memory.copy in pieces
	addedFunctions        // at most
)

const (
	// allowance is what refill draws from the budget at once.
	allowance = 256
	// bytesPerUnit is how many bytes or entries a bulk instruction handles for one unit, as a shift.
	bytesPerUnit = 5
	// piece is how many bytes memory.fill and memory.copy handle at once.
	piece = 256 << 10
)

type helper struct {
	name string
	typ  uint32
	code []byte // with locals
}

// helpers returns the functions to add, in the order of the constants.
func (m *module) helpers() []helper {
	list := []helper{
		{ImportModule + ".slow", typeSlow, m.slow()},
		{ImportModule + ".refill", typeRefill, m.refill()},
		{ImportModule + ".draw", typeRefill, m.draw()},
		{ImportModule + ".grow", typeRefill, m.grow()},
	}
	if m.memories > 0 {
		list = append(list, helper{"memory.fill", typeBulk, m.fill()}, helper{"memory.copy", typeBulk, m.copy()})
	}
	return list
}

// helper returns the index of an added function, helperType of an added type.
func (m *module) helper(h int) uint32     { return m.imported + 1 + uint32(len(m.funcs)) + uint32(h) }
func (m *module) helperType(t int) uint32 { return uint32(m.types + t) }

func (m *module) newTypes() []byte {
	return m.extend(secType, addedTypes, []byte{
		0x60, 1, 0x7f, 1, 0x7f,
		0x60, 0, 0,
		0x60, 3, 0x7f, 0x7f, 0x7f, 0,
	})
}

func (m *module) newFunctions() []byte {
	list := m.helpers()
	var types []byte
	for _, h := range list {
		types = appendU32(types, m.helperType(int(h.typ)))
	}
	return m.extend(secFunction, uint32(len(list)), types)
}

// asm writes code.
type asm []byte

func (a asm) op(ops ...byte) asm        { return append(a, ops...) }
func (a asm) get(local uint32) asm      { return appendU32(a.op(opLocalGet), local) }
func (a asm) set(local uint32) asm      { return appendU32(a.op(opLocalSet), local) }
func (a asm) tee(local uint32) asm      { return appendU32(a.op(opLocalTee), local) }
func (a asm) i32(v int32) asm           { return appendS32(a.op(opI32Const), v) }
func (a asm) getGlobal(g uint32) asm    { return appendU32(a.op(opGlobalGet), g) }
func (a asm) setGlobal(g uint32) asm    { return appendU32(a.op(opGlobalSet), g) }
func (a asm) call(f uint32) asm         { return appendU32(a.op(opCall), f) }
func (a asm) br(label uint32) asm       { return appendU32(a.op(opBr), label) }
func (a asm) brIf(label uint32) asm     { return appendU32(a.op(opBrIf), label) }
func (a asm) add(l uint32, v int32) asm { return a.get(l).i32(v).op(opI32Add).set(l) }

// function starts a helper's body: no locals but the parameters.
func function() asm { return asm{0} }

func (m *module) slow() []byte {
	return function().getGlobal(m.globals).call(m.imported).setGlobal(m.globals).op(opEnd)
}

func (m *module) refill() []byte {
	a := function().getGlobal(m.globals).get(0).op(opI32Add).i32(allowance).op(opI32Sub)
	return m.settle(a, 0).i32(allowance).op(opEnd)
}

func (m *module) draw() []byte {
	a := function().getGlobal(m.globals).get(0).i32(bytesPerUnit).op(opI32ShrU).op(opI32Sub)
	// The parameter is still needed: the second local is the scratch.
	a = append(asm{1, 1, 0x7f}, a[1:]...)
	return m.settle(a, 1).get(0).op(opEnd)
}

// grow asks the host, unless the number is negative: so many entries no table may have.
func (m *module) grow() []byte {
	a := function().get(0).i32(0).op(opI32GeS, opIf, blockVoid).get(0).call(m.imported).set(0).op(opEnd)
	return a.get(0).op(opEnd)
}

// settle makes the number on the stack the budget, and calls the host if it is below zero. It
// overwrites the local. The usual path comes first: wazero allocates registers for what follows as they are on the
// first path that it sees, and restores them on the other.
func (m *module) settle(a asm, local uint32) asm {
	return a.tee(local).setGlobal(m.globals).
		get(local).i32(0).op(opI32GeS, opIf, blockVoid, opElse).call(m.helper(helperSlow)).op(opEnd)
}

// beyond leaves the innermost block if the range at local is not within the memory.
func beyond(a asm, local, length uint32) asm {
	return a.get(local).op(opI64ExtendI32U).get(length).op(opI64ExtendI32U, opI64Add).
		op(opMemorySize, 0, opI64ExtendI32U, opI64Const, 16, opI64Shl, opI64GtU).brIf(0)
}

// pay pays for one piece.
func (m *module) pay(a asm) asm { return a.i32(piece).call(m.helper(helperDraw)).op(opDrop) }

// fill is (d, v, n). What is out of bounds goes to the last instruction, which traps
// before it writes anything.
func (m *module) fill() []byte {
	const d, v, n = 0, 1, 2
	a := function().op(opBlock, blockVoid)
	a = a.get(n).i32(piece).op(opI32LeU).brIf(0)
	a = beyond(a, d, n)
	a = a.op(opLoop, blockVoid)
	a = m.pay(a).get(d).get(v).i32(piece).op(opMisc, miscMemoryFill, 0)
	a = a.add(d, piece).add(n, -piece)
	a = a.get(n).i32(piece).op(opI32LeU).brIf(1).op(opBr, 0, opEnd, opEnd)
	return a.get(d).get(v).get(n).call(m.helper(helperDraw)).op(opMisc, miscMemoryFill, 0, opEnd)
}

// copy is (d, s, n), upwards or downwards, so that overlapping ranges come out right.
func (m *module) copy() []byte {
	const d, s, n = 0, 1, 2
	a := function().op(opBlock, blockVoid)
	a = a.get(n).i32(piece).op(opI32LeU).brIf(0)
	a = beyond(beyond(a, d, n), s, n)
	a = a.get(d).get(s).op(opI32LeU, opIf, blockVoid, opLoop, blockVoid)
	a = m.pay(a).get(d).get(s).i32(piece).op(opMisc, miscMemoryCopy, 0, 0)
	a = a.add(d, piece).add(s, piece).add(n, -piece)
	a = a.get(n).i32(piece).op(opI32LeU).brIf(2).op(opBr, 0, opEnd)
	a = a.op(opElse, opLoop, blockVoid)
	a = m.pay(a).add(n, -piece).get(d).get(n).op(opI32Add).get(s).get(n).op(opI32Add)
	a = a.i32(piece).op(opMisc, miscMemoryCopy, 0, 0)
	a = a.get(n).i32(piece).op(opI32LeU).brIf(2).op(opBr, 0, opEnd, opEnd, opEnd)
	return a.get(d).get(s).get(n).call(m.helper(helperDraw)).op(opMisc, miscMemoryCopy, 0, 0, opEnd)
}
