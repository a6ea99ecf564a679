// Package inspect reads what a module says of itself, without an engine: also of modules that cannot run here. It is
// pure: bytes in, words out.
package inspect

import (
	"bytes"
	"errors"
	"fmt"
)

// ErrMalformed says that the bytes are no well-formed module.
var ErrMalformed = errors.New("malformed module")

// Report is what a module says of itself. Sizes are bytes.
type Report struct {
	Name      string     `json:"name,omitempty"`
	Size      int        `json:"size"`
	Functions int        `json:"functions"`
	CodeSize  int        `json:"codeSize"`
	DataSize  int        `json:"dataSize"` // what memory begins with, and passive data
	Imports   []External `json:"imports,omitempty"`
	Exports   []External `json:"exports,omitempty"`
	Memories  []Memory   `json:"memories,omitempty"`
	Tables    []Table    `json:"tables,omitempty"`
	Start     bool       `json:"start"`   // it has a start function, which runs before _start
	Command   bool       `json:"command"` // it exports _start: a program
	// Sockets are the families of socket functions that it imports: "preview 1", "WasmEdge".
	Sockets []string `json:"sockets,omitempty"`
	// Features are what its compiler says that it uses beyond the first version of WebAssembly (the custom section
	// target_features); Producers are the languages and tools that made it.
	Features  []string `json:"features,omitempty"`
	Producers []string `json:"producers,omitempty"`
}

// External is an import or an export.
type External struct {
	Module string `json:"module,omitempty"`
	Name   string `json:"name"`
	Kind   string `json:"kind"` // func, table, memory, global, tag
	Type   string `json:"type,omitempty"`
}

// Memory is a linear memory that the module has or imports. Sizes are in pages of 64 KiB.
type Memory struct {
	Min    uint64 `json:"min"`
	Max    uint64 `json:"max,omitempty"` // 0: none
	Shared bool   `json:"shared,omitempty"`
	Is64   bool   `json:"is64,omitempty"`
}

// Table is a table that the module has or imports.
type Table struct {
	Min uint64 `json:"min"`
	Max uint64 `json:"max,omitempty"` // 0: none
}

// kinds of imports and exports, by their number.
var kinds = [...]string{"func", "table", "memory", "global", "tag"}

// Section identifiers.
const (
	secCustom   = 0
	secType     = 1
	secImport   = 2
	secFunction = 3
	secTable    = 4
	secMemory   = 5
	secExport   = 7
	secStart    = 8
	secCode     = 10
	secData     = 11
)

// Read reads a module. What it does not know it passes over. Errors: ErrMalformed.
func Read(wasm []byte) (r Report, err error) {
	defer func() {
		if e, ok := recover().(failure); ok {
			err = e.error
		}
	}()
	if !bytes.HasPrefix(wasm, []byte("\x00asm\x01\x00\x00\x00")) {
		malformed("no module header")
	}
	m := &module{Report: Report{Size: len(wasm)}}
	in := &reader{b: wasm[8:]}
	for len(in.b) > 0 {
		id := in.byte()
		m.section(id, &reader{b: in.take(in.u32())})
	}
	m.judge()
	return m.Report, nil
}

// module is a report while it is made.
type module struct {
	Report
	types     []string
	functions []uint32 // the types of all functions, imported ones first
}

func (m *module) section(id byte, r *reader) {
	switch id {
	case secCustom:
		m.custom(r)
	case secType:
		m.readTypes(r)
	case secImport:
		m.each(r, m.readImport)
	case secFunction:
		m.each(r, func(r *reader) {
			m.functions = append(m.functions, uint32(r.u32()))
			m.Functions++
		})
	case secTable:
		m.each(r, m.readTable)
	case secMemory:
		m.each(r, m.readMemory)
	case secExport:
		m.each(r, m.readExport)
	case secStart:
		m.Start = true
	case secCode:
		m.CodeSize = len(r.b)
	case secData:
		m.DataSize = len(r.b)
	}
}

// each reads the entries of a section. An entry has one byte at least, so their number is bounded by the module.
func (m *module) each(r *reader, read func(*reader)) {
	for n := r.u32(); n > 0; n-- {
		read(r)
	}
}

// readTypes reads function types; from the first of another kind on, types have no text.
func (m *module) readTypes(r *reader) {
	for n := r.u32(); n > 0; n-- {
		if r.byte() != 0x60 {
			return
		}
		m.types = append(m.types, r.values()+" -> "+r.values())
	}
}

func (m *module) typeOf(index uint64) string {
	if index < uint64(len(m.types)) {
		return m.types[index]
	}
	return ""
}

func (m *module) readImport(r *reader) {
	i := External{Module: r.name(), Name: r.name()}
	kind := r.byte()
	i.Kind = kindName(kind)
	switch kind {
	case 0:
		typ := r.u32()
		m.functions = append(m.functions, uint32(typ))
		i.Type = m.typeOf(typ)
	case 1:
		m.readTable(r)
	case 2:
		m.readMemory(r)
	case 3:
		i.Type = r.value()
		if r.byte() == 1 {
			i.Type = "mut " + i.Type
		}
	case 4:
		r.byte()
		i.Type = m.typeOf(r.u32())
	}
	m.Imports = append(m.Imports, i)
}

func (m *module) readTable(r *reader) {
	r.value()
	least, most, _ := r.limits()
	m.Tables = append(m.Tables, Table{least, most})
}

func (m *module) readMemory(r *reader) {
	least, most, flags := r.limits()
	m.Memories = append(m.Memories, Memory{Min: least, Max: most, Shared: flags&2 != 0, Is64: flags&4 != 0})
}

func (m *module) readExport(r *reader) {
	e := External{Name: r.name()}
	kind, index := r.byte(), r.u32()
	e.Kind = kindName(kind)
	if kind == 0 && index < uint64(len(m.functions)) {
		e.Type = m.typeOf(uint64(m.functions[index]))
	}
	m.Exports = append(m.Exports, e)
}

func kindName(kind byte) string {
	if int(kind) >= len(kinds) {
		malformed("import or export of kind %d", kind)
	}
	return kinds[kind]
}

// custom reads the custom sections that say something of the module. What is wrong in them is passed over: they
// do not make a module invalid.
func (m *module) custom(r *reader) {
	defer func() {
		if e := recover(); e != nil {
			if _, ok := e.(failure); !ok {
				panic(e)
			}
		}
	}()
	switch r.name() {
	case "name":
		if r.byte() == 0 {
			r.u32()
			m.Name = r.name()
		}
	case "producers":
		m.each(r, func(r *reader) {
			r.name()
			m.each(r, func(r *reader) { m.Producers = append(m.Producers, r.name()+" "+r.name()) })
		})
	case "target_features":
		m.each(r, func(r *reader) {
			if r.byte() == '+' {
				m.Features = append(m.Features, r.name())
			} else {
				r.name()
			}
		})
	}
}

// judge derives what follows from imports and exports.
func (m *module) judge() {
	for _, e := range m.Exports {
		m.Command = m.Command || e.Kind == "func" && e.Name == "_start"
	}
	families := []struct {
		name  string
		names []string
	}{
		{"preview 1", []string{"sock_accept", "sock_recv", "sock_send", "sock_shutdown"}},
		{"WasmEdge", []string{"sock_open", "sock_bind", "sock_listen", "sock_connect", "sock_getaddrinfo", "sock_send_to", "sock_recv_from"}},
	}
	for _, f := range families {
		if m.imports(f.names) {
			m.Sockets = append(m.Sockets, f.name)
		}
	}
}

func (m *module) imports(names []string) bool {
	for _, i := range m.Imports {
		for _, name := range names {
			if i.Name == name {
				return true
			}
		}
	}
	return false
}

// failure ends the reading by panic; Read recovers it.
type failure struct{ error }

func malformed(format string, a ...any) {
	panic(failure{fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, a...))})
}
