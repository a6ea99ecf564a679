package meter

// Compilers that know only basic blocks and jumps, Go's above all, make of a function one loop that begins with a table
// of its blocks. To jump they set a local and branch to the loop:
//
//	loop block block ... block local.get $pc br_table 0 1 2 ... end <block 0> end <block 1> ...
//	i32.const 2 local.set $pc br $loop
//
// Most of these jumps lead forward, and need no check. That is certain if the end of the block that the table has for
// the constant is still to come.

// dispatchWeight is the weight of such a jump beyond its instructions.
const dispatchWeight = 8

// dispatch is the table that a loop begins with.
type dispatch struct {
	local  uint32
	blocks int      // that are opened before it
	labels []uint32 // the last one is the default
}

// dispatch looks ahead for one; nil: there is none.
func (r *reader) dispatch() *dispatch {
	ahead := *r
	d := &dispatch{}
	for ahead.left() > 2 && ahead.b[ahead.pos] == opBlock && ahead.b[ahead.pos+1] == blockVoid {
		ahead.pos += 2
		d.blocks++
	}
	if d.blocks == 0 || ahead.byte() != opLocalGet {
		return nil
	}
	d.local = ahead.u32()
	if ahead.byte() != opBrTable {
		return nil
	}
	d.labels = make([]uint32, ahead.count("branches", 1, maxBody)+1)
	for i := range d.labels {
		d.labels[i] = ahead.u32()
	}
	return d
}

// label returns where the table leads for a value.
func (d *dispatch) label(value uint32) uint32 {
	return d.labels[min(uint64(value), uint64(len(d.labels)-1))]
}

// jump is a local that has just been set to a constant.
type jump struct {
	value    uint32
	constEnd int // where the constant ended
	local    uint32
	setEnd   int // where the local was set
}

// constant notes the bytes of an i32.const. Only those of at most two bytes that are not negative are of interest.
func (j *jump) constant(bytes []byte, end int) {
	last := bytes[len(bytes)-1]
	j.constEnd = 0
	if len(bytes) > 2 || last >= 0x40 {
		return
	}
	j.value, j.constEnd = uint32(bytes[0]&0x7f), end
	if len(bytes) == 2 {
		j.value |= uint32(last) << 7
	}
}

// set notes a local.set.
func (j *jump) set(local uint32, at, end int) {
	j.setEnd = 0
	if j.constEnd == at {
		j.local, j.setEnd = local, end
	}
}

// forward returns the block to whose end a branch to a label leads through a dispatch; nil: not certainly to one.
func (w *walker) forward(label uint32, at int) *frame {
	if w.jump.setEnd != at || uint64(label) >= uint64(len(w.frames)) {
		return nil
	}
	loop := len(w.frames) - 1 - int(label)
	d := w.frames[loop].dispatch
	if d == nil || d.local != w.jump.local {
		return nil
	}
	to := d.label(w.jump.value)
	if uint64(to) >= uint64(d.blocks) {
		return nil
	}
	block := loop + d.blocks - int(to)
	if block >= len(w.frames) || w.frames[block].arm != w.frames[loop].serial {
		return nil
	}
	return &w.frames[block]
}
