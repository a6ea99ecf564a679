package wasip1

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	defaultDescriptors = 1024
	// maxStrings bounds arguments and environment, each, in bytes.
	maxStrings = 4 << 20
	// linger bounds how long what a guest wrote to a closed connection may take to leave.
	linger = time.Second
)

// Config is what a guest is given. The zero value gives it nothing.
type Config struct {
	// Args[0] is the program's name; Env is "K=V".
	Args, Env []string
	// Stdin is read ahead by a goroutine of the System from the guest's first read on; nil is an empty one.
	// Close closes it if it is an io.Closer, and waits until its Read has returned.
	Stdin io.Reader
	// Stdout and Stderr are written to by the guest's goroutine: a Write that waits holds the guest. nil
	// discards. They are not closed.
	Stdout, Stderr io.Writer
	// Mounts become preopened directories, in order, from descriptor 3 on. Single files appear in a directory that has
	// nothing else, or in the mount of the same path: files of one directory share a descriptor.
	Mounts []Mount
	// Dir is the working directory. Guests learn it as PWD.
	Dir string
	// Network is what sockets use; nil: none.
	Network Network
	// Listen become preopened listeners after the directories, in order. They are non-blocking, and
	// bound when the guest first accepts or polls.
	Listen []Address
	// Descriptors limits how many may be open, standard streams and preopened ones included; 0: 1024.
	Descriptors int
	// Logger gets what a guest cannot be told; nil is slog.Default().
	Logger *slog.Logger
	// OutputRate bounds the bytes that go to Stdout, and those that go to Stderr, in a second: who writes more waits. 0: no
	// bound.
	OutputRate int64
	// Hold is asked whether the host may hold so many bytes more for the guest; a negative number of them is given back.
	// What is refused fails with ENOMEM or its like. nil: all is granted.
	Hold func(bytes int64) bool
	// Blocked is called by the guest's goroutine before it waits; what it returns, when it goes on. nil: no one
	// is told.
	Blocked func() (resume func())
}

// System is what one guest holds.
type System struct {
	config Config
	log    *slog.Logger
	start  time.Time // of the monotonic clock
	table  table
	mounts []*mount
	// changed wakes waiting calls: any object that became readable, writable, connected or broken.
	changed notifier
	// vectors is scratch for the call that is going on.
	vectors [][]byte

	terminated  atomic.Bool
	interrupted atomic.Bool // by Terminate; the next poll that would wait fails instead, once

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	mu     sync.Mutex // guards ending
	ending bool
	tasks  sync.WaitGroup
}

// New opens what a guest is given. The caller closes the System when the guest has ended.
func New(c Config) (*System, error) {
	s := &System{config: c, log: c.Logger, start: time.Now()}
	if s.log == nil {
		s.log = slog.Default()
	}
	s.table.limit = c.Descriptors
	if c.Descriptors <= 0 {
		s.table.limit = defaultDescriptors
	}
	if c.Dir != "" {
		s.config.Env = withEnv(c.Env, "PWD", c.Dir)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if err := s.preopen(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *System) preopen() error {
	if size(s.config.Args) > maxStrings || size(s.config.Env) > maxStrings {
		return fmt.Errorf("wasip1: arguments or environment are larger than %d bytes", maxStrings)
	}
	s.add(&descriptor{object: newInput(s, s.config.Stdin), rights: streamRights &^ rightWrite})
	s.add(&descriptor{object: newOutput(s, s.config.Stdout), rights: streamRights &^ rightRead})
	s.add(&descriptor{object: newOutput(s, s.config.Stderr), rights: streamRights &^ rightRead})
	dirs, err := s.openMounts(s.config.Mounts)
	if err != nil {
		return err
	}
	for _, d := range dirs {
		if e := s.add(d); e != success {
			return errors.New("wasip1: more mounts than descriptors")
		}
	}
	return s.preopenListeners()
}

func (s *System) preopenListeners() error {
	if len(s.config.Listen) > 0 && s.config.Network == nil {
		return errors.New("wasip1: listeners without a network")
	}
	for _, a := range s.config.Listen {
		if a.Network != "tcp" {
			return fmt.Errorf("wasip1: listen on %s %s: only tcp listeners can be preopened", a.Network, a.Addr)
		}
		d := &descriptor{object: newListener(s, a.Addr), flags: flagNonblock, rights: listenerRights, inheriting: connRights}
		if e := s.add(d); e != success {
			return errors.New("wasip1: more listeners than descriptors")
		}
	}
	return nil
}

func (s *System) add(d *descriptor) errno {
	_, e := s.open(d)
	return e
}

// open gives a descriptor a number, and takes memory for it. On failure its object is closed.
func (s *System) open(d *descriptor) (uint32, errno) {
	if weight := d.weight(); s.hold(weight) {
		d.held = weight
		if fd, e := s.table.add(d); e == success {
			return fd, success
		}
		s.release(weight)
		return 0, emfile
	}
	d.close()
	return 0, enomem
}

// drop closes a descriptor that has been taken out of the table.
func (s *System) drop(d *descriptor) errno {
	s.release(d.held)
	return d.close()
}

// Terminate asks the guest to end: accepts fail with ECANCELED, also those to come, so polls find listeners ready;
// and the poll that waits now, else the next one that would, fails with EINTR.
func (s *System) Terminate() {
	if s.terminated.Swap(true) {
		return
	}
	s.interrupted.Store(true)
	s.changed.notify()
}

// Close releases every descriptor and ends every call that waits, and with it the guest. What the guest wrote to
// connections gets a second to leave. It returns when nothing of the System is left; another Close does nothing.
func (s *System) Close() error {
	s.cancel()
	var errs []error
	for _, d := range s.table.drain() {
		if d != nil {
			if e := s.drop(d); e != success {
				errs = append(errs, e)
			}
		}
	}
	s.mu.Lock()
	s.ending = true
	s.mu.Unlock()
	s.tasks.Wait()
	for _, m := range s.mounts {
		errs = append(errs, m.root.Close())
	}
	s.mounts = nil
	return errors.Join(errs...)
}

// hold takes bytes of the guest's memory for what the host keeps, release gives them back.
func (s *System) hold(bytes int64) bool {
	return s.config.Hold == nil || bytes == 0 || s.config.Hold(bytes)
}

func (s *System) release(bytes int64) {
	if s.config.Hold != nil && bytes > 0 {
		s.config.Hold(-bytes)
	}
}

// spawn runs f in a goroutine that Close waits for. Once all is closed it does nothing.
func (s *System) spawn(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ending {
		s.tasks.Go(f)
	}
}

// wait calls try until it answers something else than EAGAIN, sleeping in between until something changes. A
// positive timeout bounds it.
func (c call) wait(timeout time.Duration, try func() errno) errno {
	var expired <-chan time.Time
	if timeout > 0 {
		t := time.NewTimer(timeout)
		defer t.Stop()
		expired = t.C
	}
	for {
		changed := c.sys.changed.next()
		if e := try(); e != eagain {
			return e
		}
		if c.sleep(changed, expired) {
			return eagain
		}
	}
}

// sleep waits for a change, or for the timer and says so. It does not return when the guest was killed.
func (c call) sleep(changed <-chan struct{}, timer <-chan time.Time) (expired bool) {
	resume := func() {}
	if c.sys.config.Blocked != nil {
		resume = c.sys.config.Blocked()
	}
	select {
	case <-changed:
	case <-timer:
		expired = true
	case <-c.ctx.Done():
	case <-c.sys.ctx.Done():
	}
	resume()
	c.checkAlive()
	return expired
}

// cancellable returns a context that ends when the guest is killed or the System closed.
func (c call) cancellable() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(c.ctx)
	stop := context.AfterFunc(c.sys.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// notifier tells any number of waiters that something changed.
type notifier struct {
	mu sync.Mutex
	ch chan struct{}
}

// next returns a channel that is closed by the next notify.
func (n *notifier) next() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ch == nil {
		n.ch = make(chan struct{})
	}
	return n.ch
}

func (n *notifier) notify() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ch != nil {
		close(n.ch)
		n.ch = nil
	}
}

// withEnv returns env with a variable set.
func withEnv(env []string, name, value string) []string {
	out := make([]string, 0, len(env)+1)
	for _, kv := range env {
		if !strings.HasPrefix(kv, name+"=") {
			out = append(out, kv)
		}
	}
	return append(out, name+"="+value)
}

// size is what strings take in a guest's memory, NULs included.
func size(list []string) int {
	n := 0
	for _, s := range list {
		n += len(s) + 1
	}
	return n
}
