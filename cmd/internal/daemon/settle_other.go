//go:build !linux

package daemon

// dropProgram does nothing: other systems take back what is not used when they need it.
func dropProgram() error { return nil }
