package meter

import "bytes"

// Limits on what a module may declare. They bound what an engine allocates for it; the
// WebAssembly JavaScript API has most of them too.
const (
	maxModule    = 512 << 20
	maxTypes     = 100_000
	maxFunctions = 1_000_000
	maxImports   = 100_000
	maxExports   = 100_000
	maxGlobals   = 100_000
	maxSegments  = 200_000
	maxElements  = 10_000_000
	maxTables    = 100
	// maxPassive is what memory.init can be asked to copy at once, in bytes: it is not done in pieces.
	maxPassive   = 32 << 20
	maxValues    = 1000       // parameters or results of a function type
	maxBody      = 16 << 20   // bytes of a function
	maxLocals    = 50_000     // of a function
	maxAllLocals = 20_000_000 // of all functions
	// MaxTableEntries is what all tables together may grow to.
	MaxTableEntries = 1 << 20
)

// Section identifiers.
const (
	secCustom = iota
	secType
	secImport
	secFunction
	secTable
	secMemory
	secGlobal
	secExport
	secStart
	secElement
	secCode
	secData
	secDataCount
)

// order is the place of each section in a module.
var order = [...]int{secType: 1, secImport: 2, secFunction: 3, secTable: 4, secMemory: 5, secGlobal: 6,
	secExport: 7, secStart: 8, secElement: 9, secDataCount: 10, secCode: 11, secData: 12}

var header = []byte{0, 'a', 's', 'm', 1, 0, 0, 0}

// module is what is known of the module that is being rewritten.
type module struct {
	sections [secDataCount + 1][]byte // contents; nil: absent
	names    []byte                   // content of the name section
	rename   Rename

	params   []uint32 // by type: how many parameters
	types    int
	imported uint32   // functions that are imported; the index of tick
	funcs    []uint32 // by defined function: its type
	tables   uint32
	entries  int64 // that tables have at the start
	memories uint32
	least    uint32 // pages that the memory has at the start
	globals  uint32 // the index of the budget
	locals   int    // of all functions so far

	codeAt  int // where the content of the code section is in the module
	offsets []uint32
}

// Rename returns the name under which the host has a function that a module imports with so many
// parameters.
type Rename func(module, name string, params int) string

// Options say how a module is to be rewritten.
type Options struct {
	Rename Rename // may be nil
	// TakeData takes what the memory is to hold at the start out of the module, if that is possible.
	TakeData bool
}

// Metered is a module that has been rewritten.
type Metered struct {
	Module []byte
	// Data is what has to be in memory before the module is instantiated, in order; nil: nothing. It shares
	// the bytes of the original.
	Data []Segment
	// TableEntries is how many entries all tables have at the start.
	TableEntries int64
	// Offsets are where the bodies of the module's own functions are in the original, and Imported how many others
	// come before them in its indices.
	Offsets  []uint32
	Imported int
}

// Rewrite returns the metered form of a core module. Errors: ErrMalformed, ErrUnsupported. It checks only what it
// needs: an engine has still to validate the result.
func Rewrite(wasm []byte, o Options) (metered Metered, err error) {
	defer func() {
		if r := recover(); r != nil {
			f, ok := r.(failure)
			if !ok {
				panic(r)
			}
			err = f.error
		}
	}()
	m := split(wasm)
	m.rename = o.Rename
	m.survey()
	segments, data, ok := m.takeData()
	if !ok || !o.TakeData {
		segments, data = nil, m.sections[secData]
	}
	out := m.emit(len(wasm), data)
	return Metered{Module: out, Data: segments, TableEntries: m.entries,
		Offsets: m.offsets, Imported: int(m.imported)}, nil
}

// split finds the sections.
func split(wasm []byte) *module {
	if !bytes.HasPrefix(wasm, header) {
		malformed("no module header")
	}
	if len(wasm) > maxModule {
		unsupported("%d bytes, at most %d are allowed", len(wasm), maxModule)
	}
	m := &module{}
	r := &reader{b: wasm, pos: len(header)}
	last := 0
	for !r.done() {
		id := int(r.byte())
		body := r.take(r.u32())
		if id == secCustom {
			m.custom(body)
			continue
		}
		if id > secDataCount {
			unsupported("section %d", id)
		}
		if order[id] <= last {
			malformed("section %d is out of order", id)
		}
		last = order[id]
		if id == secCode {
			m.codeAt = r.pos - len(body)
		}
		m.sections[id] = body
	}
	return m
}

func (m *module) custom(body []byte) {
	r := &reader{b: body}
	if string(r.name()) == "name" {
		m.names = body[r.pos:]
	}
}

// section returns a reader of a section's content, empty with a count of zero if it is absent.
func (m *module) section(id int) *reader {
	if b := m.sections[id]; b != nil {
		return &reader{b: b}
	}
	return &reader{b: []byte{0}}
}

// end checks that a section has been read to its end.
func end(r *reader, what string) {
	if !r.done() {
		malformed("%d bytes too many in the %s section", r.left(), what)
	}
}

// survey reads the declarations that the code needs.
func (m *module) survey() {
	m.surveyTypes()
	m.surveyImports()
	r := m.section(secFunction)
	m.funcs = make([]uint32, r.count("functions", 1, maxFunctions))
	for i := range m.funcs {
		m.funcs[i] = r.u32()
		m.knownType(m.funcs[i])
	}
	end(r, "function")
	m.globals = uint32(m.section(secGlobal).count("globals", 3, maxGlobals))
	m.tables = uint32(m.section(secTable).count("tables", 3, maxTables))
	r = m.section(secMemory)
	if m.memories = uint32(r.count("memories", 2, 1)); m.memories > 0 {
		m.least, _, _ = r.limits()
	}
	end(r, "memory")
	m.surveyData()
	if m.sections[secDataCount] != nil {
		r = m.section(secDataCount)
		r.u32()
		end(r, "data count")
	}
}

func (m *module) surveyTypes() {
	r := m.section(secType)
	m.types = r.count("types", 3, maxTypes)
	m.params = make([]uint32, m.types)
	for i := range m.params {
		if form := r.byte(); form != 0x60 {
			unsupported("type %d is no function type (%#x)", i, form)
		}
		n := r.count("parameters", 1, maxValues)
		m.params[i] = uint32(n)
		r.valueTypes(n)
		r.valueTypes(r.count("results", 1, maxValues))
	}
	end(r, "type")
}

// Kinds of imports and exports.
const (
	externFunction = 0
	externGlobal   = 3
)

func (m *module) surveyImports() {
	r := m.section(secImport)
	for range r.count("imports", 4, maxImports) {
		m.importedFunction(r)
		m.imported++
	}
	end(r, "import")
}

// importedFunction reads an import. Tables, memories and globals come from other modules, which there are none.
func (m *module) importedFunction(r *reader) (module, name string, typ uint32) {
	module, name = string(r.name()), string(r.name())
	kind := r.byte()
	if kind != externFunction || module == ImportModule {
		unsupported("it imports %s.%s; only functions of the host can be imported", module, name)
	}
	typ = r.u32()
	m.knownType(typ)
	return module, name, typ
}

// valueType reads a value type.
func (r *reader) valueType() byte {
	t := r.byte()
	switch t {
	case 0x7f, 0x7e, 0x7d, 0x7c, 0x7b, 0x70, 0x6f:
		return t
	}
	unsupported("value type %#x", t)
	return 0
}

func (r *reader) valueTypes(n int) {
	for range n {
		r.valueType()
	}
}

// limits reads the limits of a table or memory; max is meaningful if bounded.
func (r *reader) limits() (least, most uint32, bounded bool) {
	switch flag := r.byte(); flag {
	case 0:
		return r.u32(), 0, false
	case 1:
		least = r.u32()
		return least, r.u32(), true
	default:
		unsupported("limits of kind %d (shared or 64-bit)", flag)
		return 0, 0, false
	}
}

// remap returns the new index of a function.
func (m *module) remap(f uint32) uint32 {
	if f >= m.imported+uint32(len(m.funcs)) {
		malformed("unknown function %d", f)
	}
	if f >= m.imported {
		return f + 1
	}
	return f
}

// knownType refuses the types that are added.
func (m *module) knownType(typ uint32) {
	if typ >= uint32(m.types) {
		malformed("unknown type %d", typ)
	}
}

// emit writes the new module.
func (m *module) emit(size int, data []byte) []byte {
	code := m.code()
	out := append(make([]byte, 0, size+size/8+len(code)/8+4096), header...)
	put := func(id int, content []byte) {
		if content != nil {
			out = appendBlock(append(out, byte(id)), content)
		}
	}
	put(secType, m.newTypes())
	put(secImport, m.newImports())
	put(secFunction, m.newFunctions())
	put(secTable, m.newTables())
	put(secMemory, m.sections[secMemory])
	put(secGlobal, m.newGlobals())
	put(secExport, m.newExports())
	put(secStart, m.newStart())
	put(secElement, m.newElements())
	put(secDataCount, m.sections[secDataCount])
	put(secCode, code)
	put(secData, data)
	put(secCustom, m.newNames())
	return out
}

// extend returns the content of a counted section with more entries at its end.
func (m *module) extend(id int, n uint32, entries []byte) []byte {
	r := m.section(id)
	out := appendU32(make([]byte, 0, len(r.b)+len(entries)+5), r.u32()+n)
	return append(append(out, r.b[r.pos:]...), entries...)
}

// newImports renames the functions that the host has under other names, and adds tick.
func (m *module) newImports() []byte {
	r := m.section(secImport)
	n := r.u32()
	out := appendU32(make([]byte, 0, len(r.b)+64), n+1)
	for range n {
		module, name, typ := m.importedFunction(r)
		if m.rename != nil {
			name = m.rename(module, name, int(m.params[typ]))
		}
		out = appendU32(append(appendName(appendName(out, module), name), externFunction), typ)
	}
	out = appendName(appendName(out, ImportModule), ImportName)
	return appendU32(append(out, 0), m.helperType(typeRefill))
}

// newTables gives every table a maximum.
func (m *module) newTables() []byte {
	if m.sections[secTable] == nil {
		return nil
	}
	share := uint32(MaxTableEntries)
	if m.tables > 0 {
		share /= m.tables
	}
	r := m.section(secTable)
	n := r.u32()
	out := appendU32(nil, n)
	for i := range n {
		out = append(out, r.valueType(), 1)
		least, most, bounded := r.limits()
		if least > share {
			unsupported("table %d has %d entries, at most %d are allowed", i, least, share)
		}
		m.entries += int64(least)
		if !bounded || most > share {
			most = share
		}
		out = appendU32(appendU32(out, least), most)
	}
	end(r, "table")
	return out
}

// newGlobals remaps the functions in the initial values and adds the budget.
func (m *module) newGlobals() []byte {
	r := m.section(secGlobal)
	n := r.u32()
	out := appendU32(make([]byte, 0, len(r.b)+16), n+1)
	for range n {
		out = append(out, r.valueType(), r.byte())
		out = m.constant(out, r)
	}
	end(r, "global")
	out = append(out, 0x7f, 1, opI32Const)
	return append(appendS32(out, Slice), opEnd)
}

func (m *module) newExports() []byte {
	if m.sections[secExport] == nil {
		return nil
	}
	r := m.section(secExport)
	n := r.count("exports", 3, maxExports)
	out := appendU32(make([]byte, 0, len(r.b)+n), uint32(n))
	for range n {
		out = appendBlock(out, r.name())
		kind, index := r.byte(), r.u32()
		if kind == externFunction {
			index = m.remap(index)
		}
		if kind == externGlobal && index >= m.globals {
			malformed("unknown global %d", index)
		}
		out = appendU32(append(out, kind), index)
	}
	end(r, "export")
	return out
}

func (m *module) newStart() []byte {
	if m.sections[secStart] == nil {
		return nil
	}
	r := m.section(secStart)
	f := r.u32()
	end(r, "start")
	return appendU32(nil, m.remap(f))
}

// newElements remaps the functions in the element segments.
func (m *module) newElements() []byte {
	if m.sections[secElement] == nil {
		return nil
	}
	r := m.section(secElement)
	n := r.count("element segments", 2, maxSegments)
	out := appendU32(make([]byte, 0, len(r.b)+len(r.b)/4), uint32(n))
	for range n {
		out = m.element(out, r)
	}
	end(r, "element")
	return out
}

// element copies one segment. Its flag has bits: 0 passive or declarative, 1 an explicit table (or
// declarative), 2 expressions instead of indices.
func (m *module) element(out []byte, r *reader) []byte {
	flag := r.u32()
	if flag > 7 {
		unsupported("element segment of kind %d", flag)
	}
	out = appendU32(out, flag)
	if flag&1 == 0 {
		if flag&2 != 0 {
			out = appendU32(out, r.u32())
		}
		out = m.constant(out, r)
	}
	if flag&3 != 0 {
		out = append(out, r.byte()) // element kind or reference type
	}
	n := r.count("elements", 1, maxElements)
	out = appendU32(out, uint32(n))
	for range n {
		if flag&4 != 0 {
			out = m.constant(out, r)
		} else {
			out = appendU32(out, m.remap(r.u32()))
		}
	}
	return out
}

// constant copies a constant expression.
func (m *module) constant(out []byte, r *reader) []byte {
	for {
		op := r.byte()
		out = append(out, op)
		switch op {
		case opEnd:
			return out
		case opI32Const:
			out = append(out, r.skipSigned(32)...)
		case opI64Const:
			out = append(out, r.skipSigned(64)...)
		case opF32Const:
			out = append(out, r.take(4)...)
		case opF64Const:
			out = append(out, r.take(8)...)
		case opGlobalGet:
			g := r.u32()
			if g >= m.globals {
				malformed("unknown global %d", g)
			}
			out = appendU32(out, g)
		case opRefNull:
			out = append(out, r.valueType())
		case opRefFunc:
			out = appendU32(out, m.remap(r.u32()))
		case opI32Add, opI32Sub, opI32Mul, opI64Add, opI64Sub, opI64Mul:
		case opVector:
			if sub := r.u32(); sub != vecConst {
				unsupported("instruction %#x %d in a constant", op, sub)
			}
			out = append(append(out, vecConst), r.take(16)...)
		default:
			unsupported("instruction %#x in a constant", op)
		}
	}
}
