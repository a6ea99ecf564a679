package meter

// maxGap is how many zero bytes between two data segments are written rather than making
// two segments of them: an engine keeps more than that for each segment, once for the module and once
// for each instance.
const maxGap = 128

// data returns the data section, its segments counted. Linkers that leave out runs of
// zeros make tens of thousands of tiny segments; neighbours are put together where nobody can tell.
func (m *module) data() []byte {
	r := m.section(secData)
	n := r.count("data segments", 2, maxSegments)
	if m.sections[secDataCount] != nil || m.sections[secMemory] == nil {
		return m.sections[secData] // segments may be named by instructions, or the memory not be zero at first
	}
	merged, ok := merge(r, n)
	if !ok {
		return m.sections[secData]
	}
	return merged
}

// segment is an active data segment of memory 0.
type segment struct {
	offset uint64
	init   []byte
}

func (s *segment) end() uint64 { return s.offset + uint64(len(s.init)) }

// merge puts n segments together; false if they are not all active, at constant offsets, in
// ascending order.
func merge(r *reader, n int) ([]byte, bool) {
	var all []segment
	for range n {
		s, ok := active(r)
		if !ok {
			return nil, false
		}
		if len(all) == 0 {
			all = append(all, s)
			continue
		}
		last := &all[len(all)-1]
		switch {
		case s.offset < last.end():
			return nil, false
		case s.offset-last.end() <= maxGap:
			init := append(last.init, make([]byte, s.offset-last.end())...)
			last.init = append(init, s.init...)
		default:
			all = append(all, s)
		}
	}
	if !r.done() {
		return nil, false // the engine has something to say about it
	}
	out := appendU32(nil, uint32(len(all)))
	for _, s := range all {
		out = append(out, 0, opI32Const)
		out = appendS32(out, int32(uint32(s.offset)))
		out = append(out, opEnd)
		out = appendU32(out, uint32(len(s.init)))
		out = append(out, s.init...)
	}
	return out, true
}

// active reads a segment; false if it is of another kind.
func active(r *reader) (segment, bool) {
	if r.u32() != 0 || r.byte() != opI32Const {
		return segment{}, false
	}
	offset := s32(r.skipSigned(32))
	if r.byte() != opEnd {
		return segment{}, false
	}
	init := r.take(r.u32())
	return segment{uint64(uint32(offset)), init[:len(init):len(init)]}, true
}

// s32 decodes a signed LEB128 number.
func s32(b []byte) int32 {
	var v int64
	for i, c := range b {
		v |= int64(c&0x7f) << (7 * i)
	}
	if shift := 7 * len(b); shift < 32 && b[len(b)-1]&0x40 != 0 {
		v |= -1 << shift
	}
	return int32(v)
}
