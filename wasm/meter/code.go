package meter

const (
	// unitWeight is how many weights make a unit; a power of two.
	unitWeight = 16
	// maxRun is the weight after which a path is checked. With the weight of one instruction more it makes at
	// most 63 units, which fit in one byte of signed LEB128.
	maxRun = 56 * unitWeight
	// leafWeight is up to what a function without loops and calls is paid for by its callers.
	leafWeight = 128
	// firstAllowance is what a function with checks begins with.
	firstAllowance = 32
	maxNesting     = 100_000
)

// units is what a path of the weight costs, at least one.
func units(weight int) int32 { return int32(weight/unitWeight + 1) }

// code returns the new code section.
func (m *module) code() []byte {
	r := m.section(secCode)
	if n := r.count("function bodies", 2, maxFunctions); n != len(m.funcs) {
		malformed("%d functions have %d bodies", len(m.funcs), n)
	}
	list := m.helpers()
	out := make([]byte, 0, len(r.b)+len(r.b)/4)
	out = appendU32(out, uint32(len(m.funcs)+len(list)))
	w := &walker{m: m}
	for _, typ := range m.funcs {
		size := r.u32()
		if size > maxBody {
			unsupported("a function of %d bytes, at most %d are allowed", size, maxBody)
		}
		out = w.function(out, typ, r.sub(size))
	}
	end(r, "code")
	for _, h := range list {
		out = appendBlock(out, h.code)
	}
	return out
}

// frame is a block that is open. Weights are of the dearest path since the last check; -1: there is no path.
type frame struct {
	op     byte
	before int // weight where it began; for a loop what its head must pay
	after  int // weight of the branches to its end
	patch  int // of a loop: where in the output its cost is
}

// walker rewrites one function at a time.
//
// A function that begins with a loop (all functions of Go do) has its entry checked by the head of that loop, and counts
// the budget itself instead of an allowance: it is entered more often than it loops.
type walker struct {
	m      *module
	r      *reader
	out    []byte // the instructions so far
	copied int    // how far the input has been copied
	frames []frame
	weight int    // of the dearest path to here since the last check; -1: not reachable
	local  uint32 // the allowance
	checks bool   // there is a check
	calls  bool
	direct int // where in the output the cost of the head of the first loop is; 0: it is not an entry loop
}

// function appends the new body of a function.
func (w *walker) function(out []byte, typ uint32, r *reader) []byte {
	groups, locals := w.locals(r)
	w.r, w.out, w.copied = r, w.out[:0], r.pos
	w.local = w.m.params[typ] + locals
	w.frames = append(w.frames[:0], frame{op: opBlock, after: -1})
	w.weight, w.checks, w.calls, w.direct = 0, false, false, 0
	for len(w.frames) > 0 {
		w.step()
	}
	w.flush(r.pos)
	if !r.done() {
		malformed("%d bytes after the end of a function", r.left())
	}
	head := w.head(groups)
	out = appendU32(out, uint32(len(head)+len(w.out)))
	return append(append(out, head...), w.out...)
}

// locals passes over the declarations and returns them.
func (w *walker) locals(r *reader) (groups []byte, n uint32) {
	start := r.pos
	var sum uint64
	for range r.count("groups of locals", 2, maxLocals) {
		sum += uint64(r.u32())
		r.valueType()
	}
	if sum > maxLocals {
		unsupported("a function with %d locals, at most %d are allowed", sum, maxLocals)
	}
	w.m.locals += int(sum)
	if w.m.locals > maxAllLocals {
		unsupported("more than %d locals in all functions", maxAllLocals)
	}
	return r.b[start:r.pos], uint32(sum)
}

// head returns the declarations of the locals, with one more, and the check at the entry.
func (w *walker) head(groups []byte) []byte {
	if !w.checks && !w.calls && w.weight <= leafWeight {
		return groups
	}
	g := &reader{b: groups}
	head := asm(appendU32(nil, g.u32()+1))
	head = append(append(head, groups[g.pos:]...), 1, 0x7f)
	if w.direct > 0 {
		w.out[w.direct] = max(w.out[w.direct], byte(units(max(w.weight, 0))))
		return head
	}
	cost := units(max(w.weight, 0))
	if w.checks {
		cost += firstAllowance
	}
	head = w.m.settle(head.getGlobal(w.m.globals).i32(cost).op(opI32Sub), w.local)
	if w.checks {
		head = head.i32(firstAllowance).set(w.local)
	}
	return head
}

// flush copies the input up to pos.
func (w *walker) flush(pos int) {
	w.out = append(w.out, w.r.b[w.copied:pos]...)
	w.copied = pos
}

// check inserts a check and returns where its cost is, one byte.
func (w *walker) check(cost int32) (patch int) {
	w.checks = true
	if w.direct > 0 {
		a := asm(w.out).getGlobal(w.m.globals).i32(cost)
		w.out = w.m.settle(a.op(opI32Sub), w.local)
		return len(a) - 1
	}
	a := asm(w.out).get(w.local).i32(cost)
	patch = len(a) - 1
	a = a.op(opI32Sub).tee(w.local).i32(0).op(opI32LtS, opIf, blockVoid)
	a = a.get(w.local).call(w.m.helper(helperRefill)).set(w.local).op(opEnd)
	w.out = a
	return patch
}

// step handles one instruction.
func (w *walker) step() {
	if w.weight >= maxRun {
		w.flush(w.r.pos)
		w.check(units(w.weight))
		w.weight = 0
	}
	at := w.r.pos
	op := w.r.byte()
	in := instructions[op]
	if w.weight >= 0 {
		w.weight += int(in.weight)
	}
	switch in.imm {
	case immNone:
	case immIndex:
		index := w.r.u32()
		if (op == opGlobalGet || op == opGlobalSet) && index >= w.m.globals {
			malformed("unknown global %d", index)
		}
		if (op == opLocalGet || op == opLocalSet || op == opLocalTee) && index >= w.local {
			malformed("unknown local %d", index)
		}
	case immIndex2:
		w.r.u32()
		w.r.u32()
	case immI32:
		w.r.skipSigned(32)
	case immI64:
		w.r.skipSigned(64)
	case immF32:
		w.r.take(4)
	case immF64:
		w.r.take(8)
	case immType:
		w.r.valueType()
	case immSpecial:
		w.special(op, at)
	default:
		unsupported("instruction %#x", op)
	}
}

func (w *walker) special(op byte, at int) {
	switch op {
	case opBlock, opLoop, opIf:
		w.open(op)
	case opElse:
		w.otherwise()
	case opEnd:
		w.close()
	case opBr:
		w.branch(w.r.u32())
		w.weight = -1
	case opBrIf:
		w.branch(w.r.u32())
	case opBrTable:
		for range w.r.count("branches", 1, maxBody) {
			w.branch(w.r.u32())
		}
		w.branch(w.r.u32())
		w.weight = -1
	case opReturn:
		w.leave()
	case opUnreachable:
		w.weight = -1
	case opCall, opReturnCall, opRefFunc:
		w.indexed(op, at)
	case opCallIndirect, opReturnIndirect:
		w.calls = true
		w.m.knownType(w.r.u32())
		w.r.u32()
		if op == opReturnIndirect {
			w.leave()
		}
	case opSelectTyped:
		w.r.valueTypes(w.r.count("types", 1, maxValues))
	case opMisc:
		w.misc(at)
	case opVector:
		w.vector()
	}
}

// indexed remaps an instruction with a function index.
func (w *walker) indexed(op byte, at int) {
	w.flush(at)
	w.out = appendU32(append(w.out, op), w.m.remap(w.r.u32()))
	w.copied = w.r.pos
	w.calls = w.calls || op != opRefFunc
	if op == opReturnCall {
		w.leave()
	}
}

// blockType reads the type of a block: none, a value type, or a function type as a signed number.
func (w *walker) blockType() {
	if c := w.r.byte(); c&0xc0 == 0x40 {
		return // a negative number of one byte; the engine knows which there are
	}
	w.r.pos--
	w.m.knownType(w.r.u32())
}

func (w *walker) open(op byte) {
	w.blockType()
	if len(w.frames) == maxNesting {
		unsupported("blocks nested more than %d deep", maxNesting)
	}
	f := frame{op: op, before: w.weight, after: -1}
	if op == opLoop {
		w.flush(w.r.pos)
		if !w.checks && !w.calls && len(w.frames) == 1 && w.frames[0].after < 0 && w.weight >= 0 {
			w.direct = 1
		}
		f.patch = w.check(0)
		if w.direct == 1 {
			w.direct = f.patch
		}
		w.weight = min(w.weight, 0)
	}
	w.frames = append(w.frames, f)
}

func (w *walker) otherwise() {
	f := &w.frames[len(w.frames)-1]
	if f.op != opIf {
		malformed("else without if")
	}
	f.op = opElse
	f.after = max(f.after, w.weight)
	w.weight = f.before
}

func (w *walker) close() {
	f := w.frames[len(w.frames)-1]
	w.frames = w.frames[:len(w.frames)-1]
	switch f.op {
	case opLoop:
		w.out[f.patch] = byte(units(max(f.before, 0)))
	case opIf:
		w.weight = max(w.weight, f.before, f.after)
	default:
		w.weight = max(w.weight, f.after)
	}
}

// branch notes a branch to a label.
func (w *walker) branch(label uint32) {
	if uint64(label) >= uint64(len(w.frames)) {
		malformed("branch to the unknown label %d", label)
	}
	f := &w.frames[len(w.frames)-1-int(label)]
	if f.op == opLoop {
		f.before = max(f.before, w.weight)
	} else {
		f.after = max(f.after, w.weight)
	}
}

// leave notes an exit from the function.
func (w *walker) leave() {
	w.frames[0].after = max(w.frames[0].after, w.weight)
	w.weight = -1
}

// misc handles the instructions with prefix 0xfc.
func (w *walker) misc(at int) {
	sub := w.r.u32()
	switch {
	case sub <= 7: // saturating conversions
	case sub == miscDataDrop || sub == miscElemDrop || sub == miscTableSize:
		w.r.u32()
	case sub == miscMemoryFill:
		w.memory0()
		w.replace(at, helperFill)
	case sub == miscMemoryCopy:
		w.memory0()
		w.memory0()
		w.replace(at, helperCopy)
	case sub == miscMemoryInit || sub == miscTableInit || sub == miscTableCopy:
		w.r.u32()
		w.r.u32()
		w.draw(at)
	case sub == miscTableGrow || sub == miscTableFill:
		w.r.u32()
		w.draw(at)
	default:
		unsupported("instruction %#x %d", opMisc, sub)
	}
}

func (w *walker) memory0() {
	if w.r.u32() != 0 || w.m.memories == 0 {
		malformed("unknown memory")
	}
}

// replace puts the call of a helper in the place of an instruction.
func (w *walker) replace(at, helper int) {
	w.flush(at)
	w.out = asm(w.out).call(w.m.helper(helper))
	w.copied = w.r.pos
	w.calls = true
}

// draw pays for an instruction whose length is on top of the stack.
func (w *walker) draw(at int) {
	w.flush(at)
	w.out = asm(w.out).call(w.m.helper(helperDraw))
	w.calls = true
}

// vector handles the instructions with prefix 0xfd.
func (w *walker) vector() {
	sub := w.r.u32()
	switch {
	case sub <= vecLoadLast || sub == vecLoadZeroFirst || sub == vecLoadZeroLast:
		w.r.u32()
		w.r.u32()
	case sub == vecConst || sub == vecShuffle:
		w.r.take(16)
	case sub >= vecLaneFirst && sub <= vecLaneLast:
		w.r.byte()
	case sub >= vecLoadLaneFirst && sub <= vecLoadLaneLast:
		w.r.u32()
		w.r.u32()
		w.r.byte()
	case sub > vecLast:
		unsupported("instruction %#x %d", opVector, sub)
	}
}
