package meter

// Opcodes by name, where the code needs them.
const (
	opUnreachable     = 0x00
	opBlock           = 0x02
	opLoop            = 0x03
	opIf              = 0x04
	opElse            = 0x05
	opEnd             = 0x0b
	opBr              = 0x0c
	opBrIf            = 0x0d
	opBrTable         = 0x0e
	opReturn          = 0x0f
	opCall            = 0x10
	opCallIndirect    = 0x11
	opReturnCall      = 0x12
	opReturnIndirect  = 0x13
	opDrop            = 0x1a
	opSelectTyped     = 0x1c
	opLocalGet        = 0x20
	opLocalSet        = 0x21
	opLocalTee        = 0x22
	opGlobalGet       = 0x23
	opGlobalSet       = 0x24
	opMemorySize      = 0x3f
	opMemoryGrow      = 0x40
	opI32Const        = 0x41
	opI64Const        = 0x42
	opF32Const        = 0x43
	opF64Const        = 0x44
	opI32LtS          = 0x48
	opI32GeS          = 0x4e
	opI32LeU          = 0x4d
	opI64GtU          = 0x56
	opI32Add          = 0x6a
	opI32Sub          = 0x6b
	opI32Mul          = 0x6c
	opI32ShrU         = 0x76
	opI64Add          = 0x7c
	opI64Sub          = 0x7d
	opI64Mul          = 0x7e
	opI64Shl          = 0x86
	opI64ExtendI32U   = 0xad
	opRefNull         = 0xd0
	opRefFunc         = 0xd2
	opMisc            = 0xfc
	opVector          = 0xfd
	blockVoid         = 0x40
	miscMemoryInit    = 8
	miscDataDrop      = 9
	miscMemoryCopy    = 10
	miscMemoryFill    = 11
	miscTableInit     = 12
	miscElemDrop      = 13
	miscTableCopy     = 14
	miscTableGrow     = 15
	miscTableSize     = 16
	miscTableFill     = 17
	vecLoadLast       = 11
	vecConst          = 12
	vecShuffle        = 13
	vecLaneFirst      = 21
	vecLaneLast       = 34
	vecLoadLaneFirst  = 84
	vecLoadLaneLast   = 91
	vecLoadZeroFirst  = 92
	vecLoadZeroLast   = 93
	vecLast           = 255
	weightLoad        = 4
	weightDivision    = 16
	weightCall        = 32
	weightGrow        = 64
	weightOfEverybody = 1
)

// immediate is what follows an opcode.
type immediate byte

const (
	immUnknown immediate = iota
	immNone
	immIndex  // one number
	immIndex2 // two numbers, as a memory argument has
	immI32
	immI64
	immF32
	immF64
	immType    // a value or heap type
	immSpecial // handled by name
)

// instruction describes a plain opcode.
type instruction struct {
	imm    immediate
	weight uint8
}

// instructions are the opcodes of one byte.
var instructions = func() (t [256]instruction) {
	set := func(from, to int, imm immediate, weight uint8) {
		for op := from; op <= to; op++ {
			t[op] = instruction{imm, weight}
		}
	}
	set(0x01, 0x01, immNone, 0)
	for _, op := range []int{opUnreachable, opBlock, opLoop, opIf, opElse, opEnd, opBr, opBrIf, opBrTable, opReturn} {
		set(op, op, immSpecial, weightOfEverybody)
	}
	for _, op := range []int{opBlock, opLoop, opElse, opEnd} {
		t[op].weight = 0
	}
	set(opCall, opReturnIndirect, immSpecial, weightCall)
	set(opDrop, 0x1b, immNone, weightOfEverybody)
	set(opSelectTyped, opSelectTyped, immSpecial, weightOfEverybody)
	set(opLocalGet, opGlobalSet, immIndex, weightOfEverybody)
	set(0x25, 0x26, immIndex, weightLoad)
	set(0x28, 0x3e, immIndex2, weightLoad)
	set(opMemorySize, opMemorySize, immIndex, weightOfEverybody)
	set(opMemoryGrow, opMemoryGrow, immIndex, weightGrow)
	set(opI32Const, opI32Const, immI32, weightOfEverybody)
	set(opI64Const, opI64Const, immI64, weightOfEverybody)
	set(opF32Const, opF32Const, immF32, weightOfEverybody)
	set(opF64Const, opF64Const, immF64, weightOfEverybody)
	set(0x45, 0xc4, immNone, weightOfEverybody)
	for _, op := range []int{0x6d, 0x6e, 0x6f, 0x70, 0x7f, 0x80, 0x81, 0x82, 0x91, 0x95, 0x9f, 0xa3} {
		t[op].weight = weightDivision // divisions, remainders, square roots
	}
	set(opRefNull, opRefNull, immType, weightOfEverybody)
	set(0xd1, 0xd1, immNone, weightOfEverybody)
	set(opRefFunc, opRefFunc, immSpecial, weightCall)
	set(opMisc, opVector, immSpecial, weightOfEverybody)
	return t
}()
