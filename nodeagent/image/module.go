package image

import (
	"fmt"
	"io"

	"wherry/wasm/artifact"
)

// moduleWriter passes on a module, and fails at the first bytes of anything else.
type moduleWriter struct {
	to    io.Writer
	first []byte
}

func (w *moduleWriter) Write(b []byte) (int, error) {
	const magic = 8
	if missing := magic - len(w.first); missing > 0 {
		w.first = append(w.first, b[:min(missing, len(b))]...)
		if len(w.first) == magic {
			if err := checkModule(w.first); err != nil {
				return 0, err
			}
		}
	}
	return w.to.Write(b)
}

// finish judges what ended early.
func (w *moduleWriter) finish() error { return checkModule(w.first) }

func checkModule(first []byte) error {
	switch kind := artifact.Detect(first); kind {
	case artifact.Module:
		return nil
	case artifact.Component:
		return fmt.Errorf("%w: it is a WebAssembly component and this node runs core modules only; %s", errUnusable, howToBuild)
	default:
		return fmt.Errorf("%w: what should be its WebAssembly module is a file of kind %s", errUnusable, kind)
	}
}
