package wasmprocess

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"wherry/nodeagent/runtime"
)

// container is what the agent knows of one run.
type container struct {
	driver *Driver
	dir    string
	order  order
	done   chan struct{} // closed when the status is final
	begun  chan struct{} // closed when the guest runs, or cannot

	process *os.Process   // that this agent started; nil: an earlier one did
	reaped  chan struct{} // closed when process has ended

	status   runtime.Status // guarded by Driver.mu
	startErr error          // set before begun is closed

	mu      sync.Mutex
	control *wire         // nil: the process is not connected
	joined  chan struct{} // closed by the next connection
	usages  []chan runtime.Usage

	consoles    map[uint64]*session // that a process is to connect to, or has
	lastConsole uint64
	once        sync.Once // closes begun
}

func newContainer(d *Driver, dir string, o order) *container {
	return &container{driver: d, dir: dir, order: o, done: make(chan struct{}), begun: make(chan struct{}), joined: make(chan struct{}),
		consoles: map[uint64]*session{}}
}

// await waits until the guest runs or cannot.
func (c *container) await(ctx context.Context, patience time.Duration) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-c.begun:
		return c.startErr
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return fmt.Errorf("its process has not begun in %v", patience)
	}
}

func (c *container) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// note takes a status that the process wrote or said. It says whether it is the last one.
func (c *container) note(e ended) (last bool) {
	d := c.driver
	d.mu.Lock()
	changed := c.status != e.Status && c.status.State != runtime.Exited
	if changed {
		c.status = e.Status
	}
	last = c.status.State == runtime.Exited
	d.mu.Unlock()
	c.once.Do(func() {
		c.startErr = e.err()
		close(c.begun)
	})
	if changed {
		if last {
			close(c.done)
		}
		d.queue.Put(c.order.Spec.ID)
	}
	return last
}

// refresh reads the folder. It says whether the run has ended.
func (c *container) refresh() bool {
	alive := lives(c.dir) // before the file, which is written before the lock is let go
	var e ended
	err := readFile(filepath.Join(c.dir, statusFile), &e)
	if err == nil && (e.State == runtime.Exited || alive) {
		return c.note(e)
	}
	if alive || c.starting() {
		return false
	}
	return c.note(c.lost(e))
}

// starting says that the process has been started by this agent and may not yet have its lock.
func (c *container) starting() bool {
	if c.process == nil {
		return false
	}
	select {
	case <-c.reaped:
		return false
	default:
		return true
	}
}

// lost is the end of a run whose process did not say how it ended.
func (c *container) lost(e ended) ended {
	begun := e.State != ""
	e.ID, e.State, e.Finished = c.order.Spec.ID, runtime.Exited, time.Now().UTC().Round(0)
	e.ExitCode, e.Reason, e.Message = 137, "Error", "the container's process has gone: "+lastWords(c.dir)
	if !begun {
		e.Started, e.StartError = e.Finished, e.Message
	}
	return e
}

// watch looks at the folder until the run has ended: now and then, and when the process says that there is something.
func (c *container) watch() {
	for !c.refresh() {
		interval := time.Second
		if c.startsSoon() {
			interval = 50 * time.Millisecond
		}
		timer := time.NewTimer(interval)
		select {
		case <-timer.C:
		case <-c.reaped:
			// nil, and never ready, if another agent started it.
			c.refresh()
		case <-c.driver.ctx.Done():
			timer.Stop()
			return
		case <-c.done:
		}
		timer.Stop()
	}
}

// startsSoon says that somebody waits for the first word of the process.
func (c *container) startsSoon() bool {
	select {
	case <-c.begun:
		return false
	default:
		return true
	}
}

// kill ends the process, whatever it does.
func (c *container) kill() {
	process := c.process
	if process == nil {
		// Another agent started it. The lock is its, so the number still is.
		var pid int
		if !lives(c.dir) || readFile(filepath.Join(c.dir, pidFile), &pid) != nil {
			return
		}
		var err error
		if process, err = os.FindProcess(pid); err != nil {
			return
		}
	}
	if err := process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.driver.log.Warn("a container's process cannot be ended", "container", c.order.Spec.ID.Container, "err", err)
	}
}

// join makes a connection the one for commands, and takes what the process reports until it ends.
func (c *container) join(w *wire) {
	c.mu.Lock()
	c.control = w
	close(c.joined)
	c.joined = make(chan struct{})
	c.mu.Unlock()
	for {
		var r report
		if err := w.receive(&r); err != nil {
			break
		}
		if r.Status != nil {
			c.refresh() // the file says more
		}
		if r.Usage != nil {
			c.answerUsage(*r.Usage)
		}
	}
	c.mu.Lock()
	if c.control == w {
		c.control = nil
	}
	c.mu.Unlock()
}

// connected returns a channel that is closed when the process connects next.
func (c *container) connected() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.joined
}

// tell sends a command, if the process is connected.
func (c *container) tell(m command) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.control == nil {
		return false
	}
	return c.control.send(m) == nil
}

func (c *container) usage(ctx context.Context) (runtime.Usage, error) {
	answer := make(chan runtime.Usage, 1)
	c.mu.Lock()
	c.usages = append(c.usages, answer)
	c.mu.Unlock()
	for {
		connected := c.connected()
		if c.tell(command{Usage: true}) {
			connected = nil
		}
		select {
		case u := <-answer:
			return u, nil
		case <-connected:
		case <-c.done:
			return runtime.Usage{}, runtime.ErrNotFound
		case <-ctx.Done():
			return runtime.Usage{}, ctx.Err()
		}
	}
}

func (c *container) answerUsage(u runtime.Usage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, answer := range c.usages {
		answer <- u
	}
	c.usages = nil
}
