package meter

const (
	// unitWeight is how many weights make a unit; a power of two.
	unitWeight = 16
	// maxRun is the weight after which a path is checked.
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
	m.offsets = make([]uint32, 0, len(m.funcs))
	for _, typ := range m.funcs {
		size := r.u32()
		m.offsets = append(m.offsets, uint32(m.codeAt+r.pos))
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
	before int  // weight where it began
	after  int  // weight of the branches to its end
	plain  bool // it has no type
	// dispatch is what a loop begins with, serial its number in the function; nil, 0: it begins otherwise.
	dispatch *dispatch
	serial   int
	// arm is the serial of the loop whose dispatch leads to this block's end.
	arm int
}

// walker rewrites one function at a time.
type walker struct {
	m      *module
	r      *reader
	out    []byte // the instructions so far
	copied int    // how far the input has been copied
	frames []frame
	weight int    // of the dearest path to here since the last check; -1: not reachable
	local  uint32 // the allowance
	checks bool   // the allowance is used
	calls  bool

	loops  int // with a dispatch, so far
	arming int // blocks to come that are arms of the last of them
	jump   jump
}

// function appends the new body of a function.
func (w *walker) function(out []byte, typ uint32, r *reader) []byte {
	groups, locals := w.locals(r)
	w.r, w.out, w.copied = r, w.out[:0], r.pos
	w.local = w.m.params[typ] + locals
	w.frames = append(w.frames[:0], frame{op: opBlock, after: -1})
	w.weight, w.checks, w.calls = 0, false, false
	w.loops, w.arming, w.jump = 0, 0, jump{}
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

// check inserts a check that pays for the path to here, before the instruction at the position.
func (w *walker) check(at int) {
	w.flush(at)
	a := w.pay().op(opI32GeS, opIf, blockVoid, opElse)
	w.out = w.refill(a).op(opEnd)
	w.weight = min(w.weight, 0)
}

// pay takes the cost of the path to here from the allowance; what is left is to be compared with zero.
func (w *walker) pay() asm {
	w.checks = true
	a := asm(w.out).get(w.local).i32(units(max(w.weight, 0)))
	return a.op(opI32Sub).tee(w.local).i32(0)
}

func (w *walker) refill(a asm) asm {
	return a.get(w.local).call(w.m.helper(helperRefill)).set(w.local)
}

// back puts a checked branch to a loop without a type in the place of the one at the position: straight to the loop if the
// allowance suffices, else through refill. The two ways meet at the loop, where values are in agreed places anyway: if they
// met before, wazero would restore all of them on both.
func (w *walker) back(label uint32, at int) {
	w.flush(at)
	w.out = w.refill(w.pay().op(opI32LtS, opIf, blockVoid)).br(label + 1).op(opEnd).br(label)
	w.copied = w.r.pos
}

// backIf does so for br_if.
func (w *walker) backIf(label uint32, at int) {
	w.flush(at)
	w.out = asm(w.out).op(opIf, blockVoid)
	w.back(label+1, at)
	w.out = append(w.out, opEnd)
}

// step handles one instruction.
func (w *walker) step() {
	at := w.r.pos
	if w.weight >= maxRun {
		w.check(at)
	}
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
		if op == opLocalSet {
			w.jump.set(index, at, w.r.pos)
		}
	case immIndex2:
		w.r.u32()
		w.r.u32()
	case immI32:
		w.jump.constant(w.r.skipSigned(32), w.r.pos)
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
		w.br(w.r.u32(), at)
	case opBrIf:
		w.brIf(w.r.u32(), at)
	case opBrTable:
		labels := make([]uint32, w.r.count("branches", 1, maxBody)+1)
		for i := range labels {
			labels[i] = w.r.u32()
		}
		w.branch(at, labels...)
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
func (w *walker) blockType() (plain bool) {
	c := w.r.byte()
	if c&0xc0 == 0x40 { // a negative number of one byte; the engine knows which there are
		return c == blockVoid
	}
	w.r.pos--
	w.m.knownType(w.r.u32())
	return false
}

func (w *walker) open(op byte) {
	plain := w.blockType()
	if len(w.frames) == maxNesting {
		unsupported("blocks nested more than %d deep", maxNesting)
	}
	f := frame{op: op, before: w.weight, after: -1, plain: plain}
	switch {
	case op == opLoop:
		if f.dispatch = w.r.dispatch(); f.dispatch != nil {
			w.loops++
			f.serial, w.arming = w.loops, f.dispatch.blocks
		}
	case w.arming > 0:
		f.arm = w.loops
		w.arming--
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
	case opIf:
		w.weight = max(w.weight, f.before, f.after)
	default:
		w.weight = max(w.weight, f.after)
	}
}

// branch notes the branches of an instruction. If one leads back, what leads to it is paid for before.
func (w *walker) branch(at int, labels ...uint32) {
	for _, label := range labels {
		if w.frame(label).op == opLoop {
			w.check(at)
			break
		}
	}
	for _, label := range labels {
		f := w.frame(label)
		f.after = max(f.after, w.weight)
	}
}

// br is a branch that is always taken. One to a loop whose dispatch leads on from here is no way back.
func (w *walker) br(label uint32, at int) {
	if f := w.forward(label, at); f != nil {
		f.after = max(f.after, w.weight+dispatchWeight)
	} else if f := w.frame(label); f.op == opLoop && f.plain {
		w.back(label, at)
	} else {
		w.branch(at, label)
	}
	w.weight = -1
}

func (w *walker) brIf(label uint32, at int) {
	if f := w.frame(label); f.op == opLoop && f.plain {
		w.backIf(label, at)
	} else {
		w.branch(at, label)
	}
}

// frame returns the block that a label names.
func (w *walker) frame(label uint32) *frame {
	if uint64(label) >= uint64(len(w.frames)) {
		malformed("branch to the unknown label %d", label)
	}
	return &w.frames[len(w.frames)-1-int(label)]
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
	case sub == miscTableGrow:
		w.r.u32()
		w.draw(at)
		w.out = asm(w.out).call(w.m.helper(helperGrow))
	case sub == miscTableFill:
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
