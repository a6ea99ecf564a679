// Package artifact describes modules as they are kept in OCI registries: which part of an image is the module, and what an
// image that holds one looks like. It touches no network.
package artifact

import (
	"bytes"
	"unicode/utf8"
)

// Kind is what some bytes are.
type Kind string

const (
	Module    Kind = "module"    // a core WebAssembly module
	Component Kind = "component" // a WebAssembly component
	Text      Kind = "text"      // text, such as the textual format of WebAssembly or a script
	Binary    Kind = "binary"    // an executable of an operating system
	Unknown   Kind = "unknown"
	Empty     Kind = "empty"
)

var executables = []string{"\x7fELF", "MZ", "\xcf\xfa\xed\xfe", "\xca\xfe\xba\xbe"}

// Detect says what a file is by its first 8 bytes.
func Detect(first []byte) Kind {
	first = first[:min(len(first), 8)]
	switch {
	case len(first) == 0:
		return Empty
	case bytes.Equal(first, []byte("\x00asm\x01\x00\x00\x00")):
		return Module
	case bytes.Equal(first, []byte("\x00asm\x0d\x00\x01\x00")):
		return Component
	case isText(first):
		return Text
	}
	for _, magic := range executables {
		if bytes.HasPrefix(first, []byte(magic)) {
			return Binary
		}
	}
	return Unknown
}

func isText(b []byte) bool {
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		if r == utf8.RuneError && size == 1 {
			return len(b) < utf8.UTFMax && !utf8.FullRune(b) // cut off within a rune
		}
		if r < ' ' && r != '\n' && r != '\r' && r != '\t' {
			return false
		}
		b = b[size:]
	}
	return true
}
