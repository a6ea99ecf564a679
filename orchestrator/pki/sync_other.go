//go:build !unix

package pki

// syncDir does nothing where directories cannot be synced.
func syncDir(string) error { return nil }
