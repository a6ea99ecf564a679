package wasip1

import (
	"io"
	"sync"
)

// input is standard input.
type input struct {
	sys    *System
	source io.Reader
	start  sync.Once
	ahead  readAhead
}

func newInput(s *System, source io.Reader) *input {
	in := &input{sys: s, source: source}
	in.ahead.init(s.changed.notify)
	return in
}

func (in *input) filetype() filetype { return typeCharacterDevice }

// begin starts reading ahead, so that a guest that never reads takes nothing from the source.
func (in *input) begin() {
	in.start.Do(func() {
		if in.source == nil {
			in.ahead.fail(io.EOF)
			return
		}
		in.sys.spawn(func() { in.ahead.run(in.source) })
	})
}

func (in *input) read(bufs [][]byte) (int, errno) {
	in.begin()
	return in.ahead.read(bufs, false)
}

func (in *input) readable() readiness {
	in.begin()
	return in.ahead.readable()
}

func (in *input) writable() readiness { return readiness{} }

func (in *input) close() errno {
	in.ahead.stop()
	if closer, ok := in.source.(io.Closer); ok {
		return errnoOf(closer.Close())
	}
	return success
}

// output is standard output or standard error. It is always ready.
type output struct{ sink io.Writer }

func (output) filetype() filetype { return typeCharacterDevice }
func (output) close() errno       { return success }

func (o output) write(bufs [][]byte) (int, errno) {
	total := 0
	for _, b := range bufs {
		if o.sink == nil {
			total += len(b)
			continue
		}
		n, err := o.sink.Write(b)
		total += n
		if err != nil {
			return total, errnoOf(err)
		}
	}
	return total, success
}
