//go:build !linux

package wasip1

import (
	"errors"
	"os"
)

// reserve says that space cannot be promised here.
func reserve(*os.File, int64, int64) error { return errors.ErrUnsupported }
