package meter

// Segment is what a module puts into its memory when it is instantiated.
type Segment struct {
	Offset uint32
	Bytes  []byte
}

// surveyData refuses passive segments that are too large. Others are only used when the module is instantiated.
func (m *module) surveyData() {
	r := m.section(secData)
	for range r.count("data segments", 2, maxSegments) {
		flag := r.u32()
		if flag == 2 {
			r.u32()
		}
		if flag != 1 {
			m.constant(nil, r)
		}
		if size := r.u32(); flag == 1 && size > maxPassive {
			unsupported("a passive data segment of %d bytes, at most %d are allowed", size, maxPassive)
		} else {
			r.take(size)
		}
	}
}

// takeData returns the segments that go to memory at the start, and the data section without them; ok is false if
// they cannot be taken out: because they depend on more than constants, or do not fit.
func (m *module) takeData() (segments []Segment, section []byte, ok bool) {
	r := m.section(secData)
	n := r.count("data segments", 2, maxSegments)
	if n == 0 || m.memories == 0 {
		return nil, m.sections[secData], false
	}
	segments = make([]Segment, 0, n)
	section = appendU32(nil, uint32(n))
	for range n {
		flag := r.u32()
		if flag == 1 {
			section = appendBlock(append(section, 1), r.take(r.u32()))
			continue
		}
		if flag == 2 && r.u32() != 0 || flag > 2 {
			malformed("data segment of kind %d", flag)
		}
		offset, known := r.constantOffset()
		if !known {
			return nil, m.sections[secData], false
		}
		s := Segment{offset, r.take(r.u32())}
		if uint64(offset)+uint64(len(s.Bytes)) > uint64(m.least)<<16 {
			return nil, m.sections[secData], false
		}
		segments = append(segments, s)
		section = append(section, 1, 0) // a segment that has been used is empty
	}
	end(r, "data")
	if m.sections[secDataCount] == nil {
		section = nil // no instruction can name a segment
	}
	return segments, section, true
}

// constantOffset reads an offset; known is false if it is no plain number.
func (r *reader) constantOffset() (offset uint32, known bool) {
	if r.byte() != opI32Const {
		return 0, false
	}
	number := r.skipSigned(32)
	return uint32(signed32(number)), r.byte() == opEnd
}

// signed32 decodes a signed LEB128 number of at most 32 bits.
func signed32(b []byte) int32 {
	var v int64
	for i, c := range b {
		v |= int64(c&0x7f) << (7 * i)
	}
	bits := 7 * len(b)
	return int32(v << (64 - bits) >> (64 - bits))
}
