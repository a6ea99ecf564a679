//go:build !linux

package story

import "errors"

func canMount() bool { return false }

func mount(string, int) error { return errors.ErrUnsupported }
func unmount(string) error    { return errors.ErrUnsupported }
func isFull(error) bool       { return false }
