package wasip1

import (
	"io"
	"math"
	"sync"
	"time"
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
	in.ahead.init(s)
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

// output is standard output or standard error.
type output struct {
	sys  *System
	sink io.Writer
	rate rate
}

func newOutput(s *System, sink io.Writer) *output {
	return &output{sys: s, sink: sink, rate: rate{perSecond: s.config.OutputRate, notify: s.changed.notify}}
}

func (*output) filetype() filetype { return typeCharacterDevice }

func (o *output) close() errno {
	o.rate.stop()
	return success
}

func (o *output) readable() readiness { return readiness{ready: true} }
func (o *output) writable() readiness { return readiness{ready: o.rate.room() > 0} }

func (o *output) write(bufs [][]byte) (int, errno) {
	total := 0
	for _, b := range bufs {
		n := min(len(b), o.rate.room())
		if n == 0 && len(b) > 0 && total == 0 {
			return 0, eagain
		}
		e := o.put(b[:n])
		o.rate.used(n)
		total += n
		if e != success || n < len(b) {
			return total, e
		}
	}
	return total, success
}

func (o *output) put(b []byte) errno {
	if o.sink == nil || len(b) == 0 {
		return success
	}
	_, err := o.sink.Write(b)
	return errnoOf(err)
}

// rate bounds how much is written in a second, and at once. It is the guest goroutine's, but for stop.
type rate struct {
	perSecond int64 // 0: no bound
	notify    func()

	spent  int64     // of perSecond
	since  time.Time // when spent was counted
	mu     sync.Mutex
	wakeUp *time.Timer
}

// room says how many bytes may be written now. When there are none, notify is called once there are again.
func (r *rate) room() int {
	if r.perSecond <= 0 {
		return math.MaxInt
	}
	now := time.Now()
	r.spent = max(0, r.spent-int64(now.Sub(r.since).Seconds()*float64(r.perSecond)))
	r.since = now
	if room := r.perSecond - r.spent; room >= max(1, r.perSecond/outputSteps) {
		return int(room)
	}
	r.wake(time.Second / outputSteps)
	return 0
}

// outputSteps is how often in a second a writer that is held back goes on.
const outputSteps = 20

func (r *rate) used(bytes int) { r.spent += int64(bytes) }

func (r *rate) wake(after time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wakeUp != nil {
		r.wakeUp.Stop()
	}
	r.wakeUp = time.AfterFunc(after, r.notify)
}

func (r *rate) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wakeUp != nil {
		r.wakeUp.Stop()
	}
}
