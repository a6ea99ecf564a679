package logfile

import (
	"bufio"
	"context"
	"errors"
	"io"
	"time"
)

// ReadOptions choose what Read writes, as the options of `kubectl logs` do.
type ReadOptions struct {
	// Follow goes on at the end of the log until Done is closed (the container has
	// ended; what is in the file by then is still written) or the context ends.
	Follow bool
	Done   <-chan struct{}
	// Tail is how many of the last lines to write; nil: all.
	Tail *int64
	// Since leaves out what was written earlier.
	Since time.Time
	// Timestamps begins every line with its time and a space.
	Timestamps bool
	// Stream is the only one to write, "stdout" or "stderr"; "": both. Tail counts the lines of both.
	Stream string
	// LimitBytes ends the output, also within a line; 0: no limit.
	LimitBytes int64
}

// pollInterval is how often a follower looks at a file that another process writes.
const pollInterval = 500 * time.Millisecond

// errLimit ends the output when LimitBytes are written.
var errLimit = errors.New("logfile: limit reached")

// Read writes the text of the log to w, oldest file first. A log that does not exist is an error that is
// fs.ErrNotExist. Records that cannot be read are left out. Errors of w are returned as they are, the end of the context
// as its cause.
func Read(ctx context.Context, path string, o ReadOptions, w io.Writer) error {
	t, skip, err := openTape(path, o.Tail)
	if err != nil {
		return err
	}
	defer t.close()
	p := &printer{o: o, w: bufio.NewWriter(w), skip: skip, left: o.LimitBytes}
	if err := p.copy(ctx, t); err != nil && err != errLimit {
		return err
	}
	return p.w.Flush()
}

// printer writes what the options choose.
type printer struct {
	o    ReadOptions
	w    *bufio.Writer
	skip int64           // lines still to be left out
	left int64           // bytes still to be written, if there is a limit
	mid  map[string]bool // by stream: the last record was a part
}

// copy prints records to the end of the log; a follower then waits for more.
func (p *printer) copy(ctx context.Context, t *tape) error {
	for ended := false; ; {
		changed := open.changes(t.path) // before reading, so that no write is missed
		if err := p.drain(ctx, t); err != io.EOF {
			return err
		}
		if !p.o.Follow || ended {
			return nil
		}
		if err := p.w.Flush(); err != nil {
			return err
		}
		var err error
		if ended, err = p.wait(ctx, changed); err != nil {
			return err
		}
	}
}

// drain prints what is there, and then returns io.EOF.
func (p *printer) drain(ctx context.Context, t *tape) error {
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		r, err := t.next()
		if err != nil {
			return err
		}
		if err := p.print(r); err != nil {
			return err
		}
	}
}

// wait returns when the log may have grown, or will not grow any more.
func (p *printer) wait(ctx context.Context, changed <-chan struct{}) (ended bool, err error) {
	var tick <-chan time.Time
	if changed == nil {
		timer := time.NewTimer(pollInterval)
		defer timer.Stop()
		tick = timer.C
	}
	select {
	case <-ctx.Done():
		return false, context.Cause(ctx)
	case <-p.o.Done:
		return true, nil
	case <-changed:
	case <-tick:
	}
	return false, nil
}

func (p *printer) print(r record) error {
	if p.skip > 0 {
		if r.whole {
			p.skip--
		}
		return nil
	}
	if r.time.Before(p.o.Since) || p.o.Stream != "" && r.stream != p.o.Stream {
		return nil
	}
	if p.o.Timestamps && !p.mid[r.stream] {
		if err := p.write(r.stamp, ' '); err != nil {
			return err
		}
	}
	p.setMid(r)
	if r.whole {
		return p.write(r.text, '\n')
	}
	return p.write(r.text)
}

func (p *printer) setMid(r record) {
	if p.mid == nil {
		p.mid = map[string]bool{}
	}
	p.mid[r.stream] = !r.whole
}

// write writes text and then tail, as far as the limit allows.
func (p *printer) write(text []byte, tail ...byte) error {
	for _, b := range [][]byte{text, tail} {
		cut := p.o.LimitBytes > 0 && int64(len(b)) > p.left
		if cut {
			b = b[:p.left]
		}
		p.left -= int64(len(b))
		if _, err := p.w.Write(b); err != nil {
			return err
		}
		if cut {
			return errLimit
		}
	}
	return nil
}
