package meter

import (
	"cmp"
	"slices"
	"strconv"
)

type functionName struct {
	index uint32
	name  []byte
}

// NameMark stands between the name that a function has in a metered module and the index that it has in the original, so
// that what a trap says can be told in terms of that. Functions that were added have none.
const NameMark = '#'

// newNames keeps the names of the module and of its functions, gives those that have none their index as engines do, and
// names what was added. A name section that is malformed is dropped, as the specification wants it.
func (m *module) newNames() []byte {
	title, named := m.readNames()
	names := make(map[uint32][]byte, len(named))
	for _, f := range named {
		names[f.index] = f.name
	}
	funcs := make([]functionName, 0, m.imported+uint32(len(m.funcs))+addedFunctions)
	for index := range m.imported + uint32(len(m.funcs)) {
		name := names[index]
		if name == nil {
			name = strconv.AppendUint([]byte{'$'}, uint64(index), 10)
		}
		name = strconv.AppendUint(append(slices.Clip(name), NameMark), uint64(index), 10)
		funcs = append(funcs, functionName{m.remap(index), name})
	}
	funcs = append(funcs, functionName{m.imported, []byte(ImportModule + "." + ImportName)})
	for i, h := range m.helpers() {
		funcs = append(funcs, functionName{m.helper(i), []byte(h.name)})
	}
	slices.SortStableFunc(funcs, func(a, b functionName) int { return cmp.Compare(a.index, b.index) })

	list := appendU32(make([]byte, 0, len(m.names)+256), uint32(len(funcs)))
	for _, f := range funcs {
		list = appendBlock(appendU32(list, f.index), f.name)
	}
	out := appendName(make([]byte, 0, len(list)+64), "name")
	if title != nil {
		out = appendBlock(append(out, 0), title)
	}
	return appendBlock(append(out, 1), list)
}

// readNames returns the subsections with the module's name and the function names.
func (m *module) readNames() (title []byte, funcs []functionName) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(failure); !ok {
				panic(r)
			}
			title, funcs = nil, nil
		}
	}()
	r := &reader{b: m.names}
	last := -1
	for !r.done() {
		id := int(r.byte())
		if id <= last {
			malformed("name subsection %d is out of order", id)
		}
		last = id
		sub := r.sub(r.u32())
		switch id {
		case 0:
			title = sub.b
			sub.name()
		case 1:
			funcs = m.readFunctionNames(sub)
		}
	}
	return title, funcs
}

func (m *module) readFunctionNames(r *reader) []functionName {
	funcs := make([]functionName, r.count("names", 2, maxFunctions))
	for i := range funcs {
		funcs[i] = functionName{r.u32(), r.name()}
		if funcs[i].index >= m.imported+uint32(len(m.funcs)) {
			malformed("a name for the unknown function %d", funcs[i].index)
		}
	}
	return funcs
}
