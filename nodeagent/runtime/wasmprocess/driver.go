package wasmprocess

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"wherry/nodeagent/runtime"
	wasmdriver "wherry/nodeagent/runtime/wasm"
	"wherry/wasm"
	"wherry/wasm/wasip1"
)

// Name is the driver's, and the runtime class by which pods choose it.
const Name = "wasm-process"

// Config configures a Driver.
type Config struct {
	// Dir is the driver's; it is made if need be.
	Dir string
	// Host compiles modules into CacheDir, from which the processes take them. It is the caller's to close.
	Host     *wasm.Host
	CacheDir string
	// Network returns what the sockets of a container use, or an error while there is nothing.
	Network func(runtime.Spec) (wasip1.Network, error)
	// Program is what is started for each container: it calls Main first of all. "": this one.
	Program string
	Logger  *slog.Logger // nil: slog.Default()
}

// Driver is a runtime.Runtime.
type Driver struct {
	config Config
	log    *slog.Logger
	queue  *runtime.Queue
	socket net.Listener
	tasks  sync.WaitGroup // watchers of containers, and the gateway
	ctx    context.Context
	cancel context.CancelFunc

	mu         sync.Mutex // guards what follows, and the statuses
	closed     bool
	containers map[runtime.ID]*container
	conns      map[net.Conn]bool // of the gateway
}

var _ runtime.Runtime = (*Driver)(nil)

// New returns a driver that knows the containers of earlier agents.
func New(c Config) (*Driver, error) {
	if c.Program == "" {
		var err error
		if c.Program, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("wasm-process: %w", err)
		}
	}
	for _, p := range []*string{&c.Dir, &c.CacheDir} {
		var err error
		if *p, err = filepath.Abs(*p); err != nil {
			return nil, fmt.Errorf("wasm-process: %w", err)
		}
	}
	d := &Driver{config: c, log: c.Logger, queue: runtime.NewQueue(), containers: map[runtime.ID]*container{}, conns: map[net.Conn]bool{}}
	if d.log == nil {
		d.log = slog.Default()
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("wasm-process: %w", err)
	}
	var err error
	if d.socket, err = listen(filepath.Join(c.Dir, socketFile)); err != nil {
		return nil, fmt.Errorf("wasm-process: listen for processes: %w", err)
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	if err := d.recall(); err != nil {
		return nil, errors.Join(fmt.Errorf("wasm-process: %w", err), d.Close())
	}
	d.tasks.Go(d.serve)
	return d, nil
}

// recall finds the containers of earlier agents.
func (d *Driver) recall() error {
	entries, err := os.ReadDir(d.config.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		dir := filepath.Join(d.config.Dir, e.Name())
		var o order
		err := readFile(filepath.Join(dir, specFile), &o)
		if err == nil && folderName(o.Spec.ID) != e.Name() {
			err = errors.New("it is another's")
		}
		if err != nil {
			d.log.Warn("a folder of a container cannot be read, and is removed", "folder", dir, "err", err)
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
			continue
		}
		c := newContainer(d, dir, o)
		d.containers[o.Spec.ID] = c
		if !c.refresh() {
			d.tasks.Go(c.watch)
		}
		d.queue.Put(o.Spec.ID)
	}
	return nil
}

// Name implements runtime.Runtime.
func (d *Driver) Name() string { return Name }

// Changes implements runtime.Runtime.
func (d *Driver) Changes() <-chan runtime.ID { return d.queue.C() }

func (d *Driver) find(id runtime.ID) *container {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.containers[id]
}

// startPatience is how long a process may take until its guest runs.
const startPatience = time.Minute

// Start implements runtime.Runtime.
func (d *Driver) Start(ctx context.Context, s runtime.Spec) error {
	if d.find(s.ID) != nil {
		return nil
	}
	if err := wasmdriver.Validate(s); err != nil {
		return err
	}
	// Here, so that the process finds the code in the cache: it does not write there.
	m, err := wasmdriver.Compile(ctx, d.config.Host, s.Image)
	if err != nil {
		return err
	}
	defer m.Release()
	c, err := d.launch(s)
	if err == nil {
		err = c.await(ctx, startPatience)
	}
	if err != nil {
		if c != nil {
			err = errors.Join(err, d.discard(c))
		}
		return fmt.Errorf("start container %s: %w", s.ID.Container, err)
	}
	return nil
}

// launch starts a process.
func (d *Driver) launch(s runtime.Spec) (*container, error) {
	if err := absolute(&s); err != nil {
		return nil, err
	}
	dir := filepath.Join(d.config.Dir, folderName(s.ID))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	o := order{Spec: s, CacheDir: d.config.CacheDir, Token: newToken()}
	c := newContainer(d, dir, o)
	if err := writeFile(filepath.Join(dir, specFile), o); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, errors.Join(errors.New("the driver is closed"), os.RemoveAll(dir))
	}
	if err := c.spawn(d.config.Program); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	d.containers[s.ID] = c
	d.tasks.Go(c.watch)
	return c, nil
}

// absolute makes the paths of a spec mean the same to the process, which has another working directory.
func absolute(s *runtime.Spec) error {
	paths := []*string{&s.LogPath, &s.TerminationMessagePath, &s.Image.Path}
	s.Mounts = slices.Clone(s.Mounts)
	for i := range s.Mounts {
		paths = append(paths, &s.Mounts[i].Host)
	}
	for _, p := range paths {
		if *p == "" {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	return nil
}

// spawn starts the process. It is not waited for when the agent ends.
func (c *container) spawn(program string) error {
	out, err := os.OpenFile(filepath.Join(c.dir, outputFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer out.Close() // the process has its own
	cmd := exec.Command(program)
	cmd.Args = []string{argument, c.dir}
	cmd.Env = append(childEnv(), "GOMAXPROCS=2", "GOGC=50")
	cmd.Stdout, cmd.Stderr = out, out
	detach(cmd)
	if err := cmd.Start(); err != nil {
		return err
	}
	c.process, c.reaped = cmd.Process, make(chan struct{})
	go func() { // ends with the process, which the agent may not live to see
		_ = cmd.Wait() // how it ended is in its folder
		close(c.reaped)
	}()
	return nil
}

// discard ends a process that was not to be, and forgets it.
func (d *Driver) discard(c *container) error {
	c.kill()
	<-c.done
	d.mu.Lock()
	delete(d.containers, c.order.Spec.ID)
	d.mu.Unlock()
	return os.RemoveAll(c.dir)
}

// Stop implements runtime.Runtime.
func (d *Driver) Stop(ctx context.Context, id runtime.ID, grace time.Duration) error {
	c := d.find(id)
	if c == nil {
		return nil
	}
	c.tell(command{Stop: &grace})
	// The process keeps the grace by itself. One that does not, or cannot be told, is ended.
	const margin = 5 * time.Second
	timer := time.NewTimer(grace + margin)
	defer timer.Stop()
	for {
		connected := c.connected()
		select {
		case <-c.done:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("stop container %s: %w", id.Container, ctx.Err())
		case <-connected:
			c.tell(command{Stop: &grace})
		case <-timer.C:
			c.kill()
			<-c.done
			return nil
		}
	}
}

// Remove implements runtime.Runtime.
func (d *Driver) Remove(_ context.Context, id runtime.ID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.containers[id]
	if c == nil {
		return nil
	}
	if c.status.State != runtime.Exited {
		return fmt.Errorf("remove container %s: it is running", id.Container)
	}
	if err := os.RemoveAll(c.dir); err != nil {
		return fmt.Errorf("remove container %s: %w", id.Container, err)
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
		if c.status.State != "" { // a process that has not said anything is being started
			list = append(list, c.status)
		}
	}
	return list, nil
}

// usagePatience is how long a process may take to say what it has used.
const usagePatience = 2 * time.Second

// Usage implements runtime.Runtime.
func (d *Driver) Usage(ctx context.Context, id runtime.ID) (runtime.Usage, error) {
	c := d.find(id)
	if c == nil || c.ended() {
		return runtime.Usage{}, fmt.Errorf("usage of container %s: %w", id.Container, runtime.ErrNotFound)
	}
	ctx, cancel := context.WithTimeout(ctx, usagePatience)
	defer cancel()
	u, err := c.usage(ctx)
	if err != nil {
		return u, fmt.Errorf("usage of container %s: %w", id.Container, err)
	}
	return u, nil
}

// Close implements runtime.Runtime. The processes go on.
func (d *Driver) Close() error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.cancel()
	err := d.socket.Close()
	d.mu.Lock()
	for conn := range d.conns {
		_ = conn.Close() // the process sees that the agent has gone
	}
	d.mu.Unlock()
	d.tasks.Wait()
	d.queue.Close()
	return err
}
