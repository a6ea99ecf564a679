// Package fake is a driver whose containers do what their arguments say, in the time of package time. A test
// writes the behaviour into the pod:
//
//	args: ["run=10s", "exit=1"]
//
// The words, all optional (others are ignored):
//
//	run=DURATION     ends by itself after that time; else it runs until it is stopped
//	exit=CODE        with that code (0)
//	term=DURATION    needs that long to end when asked to (0)
//	ignore-term      does not end when asked to
//	oom              ends as if it had used too much memory
//	log=TEXT         writes a line to standard output when it starts
//	message=TEXT     leaves a termination message
//	invalid=TEXT     can never be started
//	start-error=TEXT fails to start, each time
//
// Commands of an exec: "echo WORDS...", "cat", "exit CODE", "sleep" (until it is ended), "size" (writes each size of the
// terminal), "warn WORDS..." (on standard error). Who attaches sees back what he types until the container ends.
package fake

import (
	"context"
	"fmt"
	"sync"
	"time"

	"wherry/nodeagent/runtime"
	"wherry/nodeagent/runtime/logfile"
)

// Machine is where the containers run. It outlives drivers, as containers that are processes of their own do.
type Machine struct {
	// Name of its drivers; "": "fake".
	Name string
	// Attached containers end with the driver that started them, as Wasm guests do.
	Attached bool
	// OnStart, if not nil, may refuse a start.
	OnStart func(runtime.Spec) error

	mu         sync.Mutex
	containers map[runtime.ID]*container
	calls      []string
	driver     *Driver // the newest, told of changes
}

// Driver is one life of the driver.
type Driver struct {
	m     *Machine
	queue *runtime.Queue
	own   sync.WaitGroup // containers that end with it
}

var (
	_ runtime.Runtime = (*Driver)(nil)
	_ runtime.Execer  = (*Driver)(nil)
)

// New returns a driver on a machine of its own.
func New() *Driver { return new(Machine).Driver() }

// Driver starts a driver, as a new process of the agent would. The one before must be closed.
func (m *Machine) Driver() *Driver {
	d := &Driver{m: m, queue: runtime.NewQueue()}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.driver = d
	return d
}

// Calls returns what has been asked of the machine's drivers so far: "start uid/name/0", "stop uid/name/0 30s",
// "remove uid/name/0".
func (m *Machine) Calls() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.calls...)
}

// Spec returns what the ID was started with.
func (m *Machine) Spec(id runtime.ID) (runtime.Spec, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok := m.containers[id]
	if !ok {
		return runtime.Spec{}, false
	}
	return c.spec, true
}

// Exit ends a running container from outside.
func (m *Machine) Exit(id runtime.ID, code int) {
	m.mu.Lock()
	c := m.containers[id]
	m.mu.Unlock()
	if c != nil {
		c.end(code)
	}
}

// Machine returns the driver's machine.
func (d *Driver) Machine() *Machine { return d.m }

func (d *Driver) Name() string {
	if d.m.Name != "" {
		return d.m.Name
	}
	return "fake"
}

func (d *Driver) Changes() <-chan runtime.ID { return d.queue.C() }

func (d *Driver) Start(ctx context.Context, s runtime.Spec) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("start %s: %w", s.ID.Container, err)
	}
	script, err := parse(append(s.Command, s.Args...))
	if err != nil {
		return err
	}
	if d.m.OnStart != nil {
		if err := d.m.OnStart(s); err != nil {
			return err
		}
	}
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	d.m.calls = append(d.m.calls, "start "+name(s.ID))
	if d.m.containers[s.ID] != nil {
		return nil
	}
	if err := script.refusal(); err != nil {
		return err
	}
	if err := script.writeLog(s); err != nil {
		return err
	}
	c := newContainer(d.m, s, script)
	if d.m.containers == nil {
		d.m.containers = map[runtime.ID]*container{}
	}
	d.m.containers[s.ID] = c
	d.own.Go(c.run)
	d.queue.Put(s.ID)
	return nil
}

func (d *Driver) Stop(ctx context.Context, id runtime.ID, grace time.Duration) error {
	d.m.mu.Lock()
	d.m.calls = append(d.m.calls, fmt.Sprintf("stop %s %s", name(id), grace))
	c := d.m.containers[id]
	d.m.mu.Unlock()
	if c == nil {
		return nil
	}
	c.terminate()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-c.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop %s: %w", id.Container, context.Cause(ctx))
	case <-timer.C:
	}
	c.end(137)
	<-c.ended
	return nil
}

func (d *Driver) Remove(_ context.Context, id runtime.ID) error {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	d.m.calls = append(d.m.calls, "remove "+name(id))
	c := d.m.containers[id]
	if c != nil && c.status.State == runtime.Running {
		return fmt.Errorf("remove %s: it is running", name(id))
	}
	delete(d.m.containers, id)
	return nil
}

func (d *Driver) Observe(context.Context) ([]runtime.Status, error) {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	all := make([]runtime.Status, 0, len(d.m.containers))
	for _, c := range d.m.containers {
		all = append(all, c.status)
	}
	return all, nil
}

// Usage of a fake container is a thousandth of a core and a MiB.
func (d *Driver) Usage(_ context.Context, id runtime.ID) (runtime.Usage, error) {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	c := d.m.containers[id]
	if c == nil || c.status.State != runtime.Running {
		return runtime.Usage{}, fmt.Errorf("usage of %s: %w", name(id), runtime.ErrNotFound)
	}
	return runtime.Usage{CPU: time.Since(c.status.Started) / 1000, MemoryBytes: 1 << 20}, nil
}

// Close ends the containers if they are attached to the driver. Others go on.
func (d *Driver) Close() error {
	if d.m.Attached {
		d.m.mu.Lock()
		all := d.m.containers
		d.m.containers = nil
		d.m.mu.Unlock()
		for _, c := range all {
			c.end(137)
		}
		d.own.Wait()
	}
	d.queue.Close()
	return nil
}

// Halt ends all containers and waits, at the end of a test.
func (m *Machine) Halt() {
	m.mu.Lock()
	all := m.containers
	m.containers = nil
	m.mu.Unlock()
	for _, c := range all {
		c.end(137)
		<-c.ended
	}
}

func name(id runtime.ID) string { return fmt.Sprintf("%s/%s/%d", id.Pod, id.Container, id.Attempt) }

// writeLog writes what the container has to say.
func (s script) writeLog(spec runtime.Spec) error {
	if spec.LogPath == "" {
		return nil
	}
	w, err := logfile.Create(spec.LogPath, logfile.Options{MaxBytes: spec.LogMaxBytes, MaxFiles: spec.LogMaxFiles})
	if err != nil {
		return err
	}
	if s.log != "" {
		if _, err := fmt.Fprintln(w.Stream("stdout"), s.log); err != nil {
			w.Close() // the first error says more
			return err
		}
	}
	return w.Close()
}
