//go:build unix && !linux

package wasmprocess

// confine bounds what the process can take of the machine.
func confine() error { return limitFiles() }
