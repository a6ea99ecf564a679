package wasmprocess

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"wherry/nodeagent/runtime"
	wasmdriver "wherry/nodeagent/runtime/wasm"
)

var _ runtime.Execer = (*Driver)(nil)

// consoleOrder asks a process for an exec or attach, whose streams go over a connection that the process opens.
type consoleOrder struct {
	ID      uint64   `json:"id"`
	Command []string `json:"command,omitempty"` // none: attach
	Stdin   bool     `json:"stdin,omitempty"`
	Stdout  bool     `json:"stdout,omitempty"`
	Stderr  bool     `json:"stderr,omitempty"`
}

// consoleExit is how it ended.
type consoleExit struct {
	Code     int    `json:"code"`
	Error    string `json:"error,omitempty"`
	NotFound bool   `json:"notFound,omitempty"`
}

func (e consoleExit) err() error {
	switch {
	case e.NotFound:
		return fmt.Errorf("%s: %w", e.Error, runtime.ErrNotFound)
	case e.Error != "":
		return errors.New(e.Error)
	}
	return nil
}

// Kinds of frames.
const (
	frameStdin    = 'i'
	frameStdinEnd = 'I'
	frameStdout   = 'o'
	frameStderr   = 'e'
	frameExit     = 'x' // a consoleExit; nothing follows
)

const (
	// maxFrame bounds what a frame carries, in bytes.
	maxFrame = 32 << 10
	// consolePatience is how long a process may take to open a connection.
	consolePatience = 10 * time.Second
	// lastPatience is for how long a process stays after its guest for consoles that have something to say.
	lastPatience = 2 * time.Second
)

// frames are the messages of one console. It may be written to concurrently.
type frames struct {
	w  *wire
	mu sync.Mutex // held over writes, so that frames do not mix
}

func (f *frames) send(kind byte, data []byte) error {
	head := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(data)))
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := f.w.Write(append(head, data...))
	return err
}

func (f *frames) receive() (kind byte, data []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(f.w, head[:]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size > maxFrame {
		return 0, nil, fmt.Errorf("a frame of %d bytes", size)
	}
	data = make([]byte, size)
	_, err = io.ReadFull(f.w, data)
	return head[0], data, err
}

// sender writes frames of one kind.
type sender struct {
	f    *frames
	kind byte
}

func (s sender) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		n := min(len(b)-done, maxFrame)
		if err := s.f.send(s.kind, b[done:done+n]); err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

// Exec implements runtime.Execer.
func (d *Driver) Exec(ctx context.Context, id runtime.ID, command []string, c runtime.Console) (int, error) {
	return d.console(ctx, id, command, c)
}

// Attach implements runtime.Execer.
func (d *Driver) Attach(ctx context.Context, id runtime.ID, c runtime.Console) error {
	_, err := d.console(ctx, id, nil, c)
	return err
}

func (d *Driver) console(ctx context.Context, id runtime.ID, command []string, c runtime.Console) (int, error) {
	in := d.find(id)
	if in == nil || in.ended() {
		return 0, fmt.Errorf("container %s: %w", id.Container, runtime.ErrNotFound)
	}
	if c.TTY {
		return 0, wasmdriver.ErrTerminal
	}
	s := in.expect()
	defer in.dismiss(s)
	order := consoleOrder{ID: s.id, Command: command, Stdin: c.Stdin != nil, Stdout: c.Stdout != nil, Stderr: c.Stderr != nil}
	if b, err := json.Marshal(order); err != nil || len(b) > maxLine/2 {
		return 0, errors.Join(err, errors.New("the command is too long"))
	}
	w, err := in.callBack(ctx, s, order)
	if err != nil {
		return 0, fmt.Errorf("container %s: %w", id.Container, err)
	}
	code, err := converse(ctx, &frames{w: w}, c)
	if errors.Is(err, errGone) && in.endsSoon(ctx) {
		return 137, nil // with the container
	}
	return code, err
}

// errGone says that a process went away in the middle of a console.
var errGone = errors.New("the container's process has gone")

// endsSoon waits until the run has ended, whose process broke off a connection.
func (c *container) endsSoon(ctx context.Context) bool {
	timer := time.NewTimer(consolePatience)
	defer timer.Stop()
	select {
	case <-c.done:
		return true
	case <-ctx.Done():
	case <-timer.C:
	}
	return false
}

// session is a console that a process is to connect to.
type session struct {
	id      uint64
	arrived chan *wire    // one slot
	over    chan struct{} // closed when the connection is not used any more
}

func (c *container) expect() *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastConsole++
	s := &session{id: c.lastConsole, arrived: make(chan *wire, 1), over: make(chan struct{})}
	c.consoles[s.id] = s
	return s
}

// dismiss ends a console, at the process too.
func (c *container) dismiss(s *session) {
	c.mu.Lock()
	delete(c.consoles, s.id)
	c.mu.Unlock()
	close(s.over)
	c.tell(command{EndConsole: s.id})
}

// arrive hands a connection over, and returns when it is not used any more.
func (c *container) arrive(id uint64, w *wire) {
	c.mu.Lock()
	s := c.consoles[id]
	c.mu.Unlock()
	if s == nil {
		return
	}
	select {
	case s.arrived <- w:
		<-s.over
	default: // there is one
	}
}

// callBack tells the process about a console, and waits for its connection.
func (c *container) callBack(ctx context.Context, s *session, order consoleOrder) (*wire, error) {
	timer := time.NewTimer(consolePatience)
	defer timer.Stop()
	for {
		connected := c.connected()
		if c.tell(command{Console: &order}) {
			connected = nil
		}
		select {
		case w := <-s.arrived:
			return w, nil
		case <-connected:
		case <-c.done:
			return nil, runtime.ErrNotFound
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-timer.C:
			return nil, errors.New("its process does not answer; one that was started by an older agent takes no exec and attach")
		}
	}
}

// converse carries a console's streams until the process says how it ended.
func converse(ctx context.Context, f *frames, c runtime.Console) (int, error) {
	var typing sync.WaitGroup
	defer typing.Wait()
	defer f.w.Close() // a write of stdin that waits ends with it
	if c.Stdin != nil {
		defer c.Stdin.Close() // ends the reading
		typing.Go(func() {
			buf := make([]byte, maxFrame)
			_, err := io.CopyBuffer(sender{f, frameStdin}, struct{ io.Reader }{c.Stdin}, buf)
			if err == nil {
				_ = f.send(frameStdinEnd, nil) // whoever reads the answer sees that it failed
			}
		})
	}
	defer context.AfterFunc(ctx, func() { _ = f.w.Close() })() // ends the reading below
	for {
		kind, data, err := f.receive()
		if err != nil {
			if ctx.Err() != nil {
				return 0, context.Cause(ctx)
			}
			return 0, fmt.Errorf("%w: %w", errGone, err)
		}
		switch kind {
		case frameStdout:
			_, err = c.Stdout.Write(data)
		case frameStderr:
			_, err = c.Stderr.Write(data)
		case frameExit:
			var exit consoleExit
			if err := json.Unmarshal(data, &exit); err != nil {
				return 0, err
			}
			return exit.Code, exit.err()
		}
		if err != nil {
			return 0, err
		}
	}
}

// console does in the process what the agent has ordered.
func (c *child) console(ctx context.Context, o consoleOrder) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !c.begin(o.ID, cancel) {
		return // it was told twice
	}
	defer c.forget(o.ID)
	w, err := c.agent.open(ctx, hello{Kind: kindConsole, Console: o.ID})
	if err != nil {
		c.log.Warn("the agent cannot be reached for a console", "err", err)
		return
	}
	defer w.Close()                                          // everything has been said
	defer context.AfterFunc(ctx, func() { _ = w.Close() })() // ends reads and writes
	c.serve(ctx, cancel, &frames{w: w}, o)
}

func (c *child) serve(ctx context.Context, cancel context.CancelFunc, f *frames, o consoleOrder) {
	var console runtime.Console
	stdin, typed := io.Pipe()
	if o.Stdin {
		console.Stdin = stdin
	}
	if o.Stdout {
		console.Stdout = sender{f, frameStdout}
	}
	if o.Stderr {
		console.Stderr = sender{f, frameStderr}
	}
	var reading sync.WaitGroup
	defer reading.Wait() // the agent has read the exit when it closes the connection
	reading.Go(func() {
		defer cancel()
		receiveStdin(f, typed)
	})
	var exit consoleExit
	var err error
	if o.Command != nil {
		exit.Code, err = c.driver.Exec(ctx, c.order.Spec.ID, o.Command, console)
	} else {
		err = c.driver.Attach(ctx, c.order.Spec.ID, console)
	}
	_ = stdin.Close() // it never fails
	if err != nil {
		exit.Error, exit.NotFound = err.Error(), errors.Is(err, runtime.ErrNotFound)
	}
	b, err := json.Marshal(exit)
	if err == nil {
		err = f.send(frameExit, b)
	}
	if err != nil {
		cancel()
	}
}

// receiveStdin hands over what is typed until the connection ends.
func receiveStdin(f *frames, to *io.PipeWriter) {
	defer to.Close() // it never fails
	for {
		kind, data, err := f.receive()
		switch {
		case err != nil:
			return
		case kind == frameStdin:
			_, _ = to.Write(data) // nobody reads it any more: the rest goes the same way
		case kind == frameStdinEnd:
			_ = to.Close() // it never fails
		}
	}
}

func (c *child) begin(id uint64, cancel context.CancelFunc) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.finishing || c.consoles[id] != nil {
		return false
	}
	c.consoles[id] = cancel
	c.lastWords.Add(1)
	return true
}

func (c *child) forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.consoles, id)
	c.lastWords.Done()
}

// finishConsoles lets those who have attached hear how the guest ended, for a while.
func (c *child) finishConsoles() {
	c.mu.Lock()
	c.finishing = true // no more of them
	c.mu.Unlock()
	done := make(chan struct{})
	go func() { // ends with the process if not before
		c.lastWords.Wait()
		close(done)
	}()
	timer := time.NewTimer(lastPatience)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

// endConsole ends one that the agent does not want any more.
func (c *child) endConsole(id uint64) {
	c.mu.Lock()
	cancel := c.consoles[id]
	c.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}
