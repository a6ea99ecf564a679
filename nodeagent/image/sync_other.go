//go:build !unix

package image

// syncDir does nothing where folders cannot be synced; a rename is durable there with the file system's own log.
func syncDir(string) error { return nil }
