// Package wasm is the driver that runs WebAssembly modules, in this process, as guests of package wasm. A container ends
// with the agent.
//
//	driver.go     Driver: what the agent asks for
//	container.go  one run of a container
//	http.go       a container that is an HTTP handler
//	cgi.go        one request, as a run of the module
//	requests.go   how many requests there were
//	exec.go       further guests in a container, and who attaches to it
//	console.go    what a guest reads and writes
//	spec.go       pure: what a container's spec means to a guest
package wasm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"wherry/nodeagent/runtime"
	"wherry/wasm"
	"wherry/wasm/wasip1"
)

// Config configures a Driver.
type Config struct {
	// ClassName is the driver's name, and so the runtime class by which pods choose it; "" is "wasm", which runs modules
	// unless their pods choose otherwise.
	ClassName string
	// HTTP makes the containers HTTP handlers, see HTTPName.
	HTTP bool
	// Host runs the guests. It is the caller's to close, after the driver.
	Host *wasm.Host
	// Network returns what the sockets of a container use. nil, or a nil Network: it has none.
	Network func(runtime.Spec) (wasip1.Network, error)
	Logger  *slog.Logger // nil: slog.Default()
}

// Driver is a runtime.Runtime.
type Driver struct {
	config Config
	log    *slog.Logger
	queue  *runtime.Queue
	ends   sync.WaitGroup // of containers

	mu         sync.Mutex // guards what follows, and the statuses
	closed     bool
	containers map[runtime.ID]*container
}

var _ runtime.Runtime = (*Driver)(nil)

// New returns a driver without containers.
func New(c Config) *Driver {
	d := &Driver{config: c, log: c.Logger, queue: runtime.NewQueue(), containers: map[runtime.ID]*container{}}
	if d.config.ClassName == "" {
		d.config.ClassName = "wasm"
	}
	if d.log == nil {
		d.log = slog.Default()
	}
	return d
}

// Name implements runtime.Runtime.
func (d *Driver) Name() string { return d.config.ClassName }

// Changes implements runtime.Runtime.
func (d *Driver) Changes() <-chan runtime.ID { return d.queue.C() }

// Start implements runtime.Runtime.
func (d *Driver) Start(ctx context.Context, s runtime.Spec) error {
	if d.find(s.ID) != nil {
		return nil
	}
	if err := Validate(s); err != nil {
		return err
	}
	m, err := Compile(ctx, d.config.Host, s.Image)
	if err != nil {
		return err
	}
	defer m.Release()
	c, err := d.run(ctx, m, s)
	if err != nil {
		return fmt.Errorf("start container %s: %w", s.ID.Container, err)
	}
	if !d.add(c) {
		c.instance.Kill()
		return errors.Join(fmt.Errorf("start container %s: the driver is closed", s.ID.Container), c.finish())
	}
	d.log.Debug("container started", "pod", s.ID.Pod, "container", s.ID.Container, "attempt", s.ID.Attempt)
	d.queue.Put(s.ID)
	return nil
}

func (d *Driver) find(id runtime.ID) *container {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.containers[id]
}

// add keeps the container and waits for its end, unless the driver is closed.
func (d *Driver) add(c *container) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.containers[c.status.ID] = c
	d.ends.Go(func() { d.await(c) })
	return true
}

// await notes the end of a container.
func (d *Driver) await(c *container) {
	if err := c.finish(); err != nil {
		d.log.Warn("the log of a container is incomplete", "pod", c.spec.ID.Pod, "container", c.spec.ID.Container, "err", err)
	}
	d.mu.Lock()
	c.status = c.exited()
	d.mu.Unlock()
	close(c.done)
	d.queue.Put(c.spec.ID)
}

// Compile makes a module of an image, to be released. Errors: runtime.ErrInvalid if it can never run here.
func Compile(ctx context.Context, host *wasm.Host, image runtime.Image) (*wasm.Module, error) {
	m, err := host.Compile(ctx, image.ContentDigest, func() (io.ReadCloser, error) { return os.Open(image.Path) })
	switch {
	case errors.Is(err, wasm.ErrNotModule), errors.Is(err, wasm.ErrUnsupported):
		return nil, fmt.Errorf("%w: image %s: %w", runtime.ErrInvalid, image.Ref, err)
	case err != nil:
		return nil, fmt.Errorf("image %s: %w", image.Ref, err)
	}
	return m, nil
}

// Stop implements runtime.Runtime.
func (d *Driver) Stop(ctx context.Context, id runtime.ID, grace time.Duration) error {
	c := d.find(id)
	if c == nil {
		return nil
	}
	c.instance.Terminate()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop container %s: %w", id.Container, ctx.Err())
	case <-timer.C:
	}
	c.instance.Kill()
	<-c.done
	return nil
}

// Remove implements runtime.Runtime.
func (d *Driver) Remove(_ context.Context, id runtime.ID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.containers[id]
	if c != nil && c.status.State != runtime.Exited {
		return fmt.Errorf("remove container %s: it is running", id.Container)
	}
	delete(d.containers, id)
	return nil
}

// Observe implements runtime.Runtime.
func (d *Driver) Observe(context.Context) ([]runtime.Status, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]runtime.Status, 0, len(d.containers))
	for _, c := range d.containers {
		list = append(list, c.status)
	}
	return list, nil
}

// Usage implements runtime.Runtime.
func (d *Driver) Usage(_ context.Context, id runtime.ID) (runtime.Usage, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.containers[id]
	if c == nil || c.status.State != runtime.Running {
		return runtime.Usage{}, fmt.Errorf("usage of container %s: %w", id.Container, runtime.ErrNotFound)
	}
	cpu, memory := c.instance.Usage()
	return runtime.Usage{CPU: cpu, MemoryBytes: memory}, nil
}

// Close implements runtime.Runtime.
func (d *Driver) Close() error {
	d.mu.Lock()
	d.closed = true
	for _, c := range d.containers {
		c.instance.Kill()
	}
	d.mu.Unlock()
	d.ends.Wait()
	d.queue.Close()
	return nil
}
