package wasmprocess

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"wherry/nodeagent/runtime"
	wasmdriver "wherry/nodeagent/runtime/wasm"
	"wherry/wasm"
	"wherry/wasm/wasip1"
)

// argument is the name under which the program is started to run a container.
const argument = "wherry-wasm-process"

// pidFile holds the number of the process.
const pidFile = "pid"

// Main runs a container if this process was started for one, and says so. A program whose agent uses the driver calls it
// before it does anything else, and exits with the code.
func Main(args []string) (code int, ours bool) {
	if len(args) != 2 || filepath.Base(args[0]) != argument {
		return 0, false
	}
	if err := runChild(args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "wasm-process:", err)
		return 1, true
	}
	return 0, true
}

// child is the process of a container.
type child struct {
	order  order
	folder string // its name
	log    *slog.Logger
	driver *wasmdriver.Driver
	agent  *agentLink

	mu      sync.Mutex
	control *wire // nil: there is no agent
	// consoles end the execs and attachments that go on.
	consoles  map[uint64]context.CancelFunc
	lastWords sync.WaitGroup // of consoles
	finishing bool           // there will be no more
}

func runChild(dir string) error {
	// Paths of sockets are short: everything is named from here.
	if err := os.Chdir(dir); err != nil {
		return err
	}
	held, err := lock(".")
	if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	defer held.Close() // with the process, if not before
	if err := writeFile(pidFile, os.Getpid()); err != nil {
		return err
	}
	var o order
	if err := readFile(specFile, &o); err != nil {
		return err
	}
	c := &child{order: o, folder: filepath.Base(dir), log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		consoles: map[uint64]context.CancelFunc{}}
	c.agent = &agentLink{hello: hello{Protocol: protocol, Folder: c.folder, Token: o.Token}}
	if err := c.run(); err != nil {
		return errors.Join(err, c.write(ended{
			Status:     runtime.Status{ID: o.Spec.ID, State: runtime.Exited, Started: now(), Finished: now(), ExitCode: 128, Reason: "StartError", Message: err.Error()},
			StartError: err.Error(), Invalid: errors.Is(err, runtime.ErrInvalid),
		}))
	}
	return nil
}

func now() time.Time { return time.Now().UTC().Round(0) }

// run runs the guest to its end. Errors mean that it could not be started.
func (c *child) run() error {
	if err := confine(); err != nil {
		return fmt.Errorf("give up rights: %w", err)
	}
	host, err := wasm.New(wasm.Config{CacheDir: c.order.CacheDir, CacheShared: true, Logger: c.log})
	if err != nil {
		return err
	}
	defer host.Close() // nothing runs in it any more
	c.driver = wasmdriver.New(wasmdriver.Config{
		Host: host, Logger: c.log,
		Network: func(runtime.Spec) (wasip1.Network, error) { return c.agent, nil },
	})
	defer c.driver.Close() // as above
	if err := c.driver.Start(context.Background(), c.order.Spec); err != nil {
		return err
	}
	debug.FreeOSMemory() // what loading the module took
	ctx, cancel := context.WithCancel(context.Background())
	var talk sync.WaitGroup
	defer talk.Wait()
	defer cancel()
	talk.Go(func() { c.converse(ctx) })
	for range c.driver.Changes() {
		exited, err := c.observe()
		if err != nil {
			c.log.Error("the status cannot be written", "err", err)
		}
		if exited {
			c.finishConsoles()
			return nil
		}
	}
	return nil
}

// observe writes down how the container is, and tells the agent.
func (c *child) observe() (exited bool, err error) {
	all, err := c.driver.Observe(context.Background())
	if err != nil || len(all) != 1 {
		return false, err
	}
	s := all[0]
	s.Started, s.Finished = s.Started.UTC().Round(0), s.Finished.UTC().Round(0)
	err = c.write(ended{Status: s})
	c.tell(report{Status: &s})
	return s.State == runtime.Exited, err
}

func (c *child) write(e ended) error { return writeFile(statusFile, e) }

// tell says something to the agent, if there is one: it reads the folder anyway.
func (c *child) tell(r report) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.control == nil {
		return
	}
	if err := c.control.send(r); err != nil {
		_ = c.control.Close() // whoever reads it sees the end
	}
}

// converse keeps a connection to the agent, and does what it says.
func (c *child) converse(ctx context.Context) {
	var commands sync.WaitGroup
	defer commands.Wait()
	for pause := retryFirst; ctx.Err() == nil; pause = min(2*pause, retryLast) {
		w, err := c.agent.open(ctx, hello{Kind: kindControl})
		if err != nil {
			c.orphaned(ctx)
			wait(ctx, pause)
			continue
		}
		pause = retryFirst
		stop := context.AfterFunc(ctx, func() { _ = w.Close() }) // ends the reading
		c.mu.Lock()
		c.control = w
		c.mu.Unlock()
		c.tell(report{Status: &runtime.Status{}})  // there may be news in the folder
		connected, gone := context.WithCancel(ctx) // nothing of an agent's consoles outlives it
		for {
			var m command
			if err := w.receive(&m); err != nil {
				break
			}
			if m.Console != nil {
				commands.Go(func() { c.console(connected, *m.Console) })
				continue
			}
			commands.Go(func() { c.do(ctx, m) })
		}
		gone()
		c.mu.Lock()
		c.control = nil
		c.mu.Unlock()
		stop()
		_ = w.Close() // the agent is gone
		wait(ctx, pause)
	}
}

// orphaned ends the guest if its folder has been removed: no agent will ever ask for it again.
func (c *child) orphaned(ctx context.Context) {
	if _, err := os.Stat(specFile); errors.Is(err, os.ErrNotExist) {
		if err := c.driver.Stop(ctx, c.order.Spec.ID, 0); err != nil && ctx.Err() == nil {
			c.log.Warn("the guest cannot be stopped", "err", err)
		}
	}
}

func (c *child) do(ctx context.Context, m command) {
	id := c.order.Spec.ID
	if m.Stop != nil {
		if err := c.driver.Stop(ctx, id, *m.Stop); err != nil && ctx.Err() == nil {
			c.log.Warn("the guest cannot be stopped", "err", err)
		}
	}
	if m.EndConsole != 0 {
		c.endConsole(m.EndConsole)
	}
	if m.Usage {
		u, err := c.driver.Usage(ctx, id)
		if err == nil {
			c.tell(report{Usage: &u})
		}
	}
}

// How long a process waits until it looks for an agent again.
const (
	retryFirst = 50 * time.Millisecond
	retryLast  = 2 * time.Second
)

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// agentLink reaches the agent. It is a guest's network, too.
type agentLink struct{ hello hello }

// open connects and says hello.
func (a *agentLink) open(ctx context.Context, h hello) (*wire, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", filepath.Join("..", socketFile))
	if err != nil {
		return nil, err
	}
	h.Protocol, h.Folder, h.Token = a.hello.Protocol, a.hello.Folder, a.hello.Token
	w := newWire(conn)
	if err := w.send(h); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// ask opens a connection and takes the answer.
func (a *agentLink) ask(ctx context.Context, h hello) (*wire, answer, error) {
	var reply answer
	w, err := a.open(ctx, h)
	if err != nil {
		return nil, reply, err
	}
	stop := context.AfterFunc(ctx, func() { _ = w.Close() }) // ends the reading
	err = w.receive(&reply)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = reply.Error.err()
	}
	if err != nil {
		_ = w.Close() // the first error is the one to tell
		return nil, reply, err
	}
	return w, reply, nil
}
