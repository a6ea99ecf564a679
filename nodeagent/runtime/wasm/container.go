package wasm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"wherry/nodeagent/runtime"
	"wherry/nodeagent/runtime/logfile"
	"wherry/wasm"
	"wherry/wasm/wasip1"
)

// maxMessage is how much of the end of a termination message is kept, in bytes, as Kubernetes does.
const maxMessage = 4096

// container is one run.
type container struct {
	spec     runtime.Spec
	instance process
	network  wasip1.Network
	limits   *wasm.Limits // of the guest, and of those that an exec starts beside it
	stdin    *stdin       // nil: it has none
	output   *output
	done     chan struct{} // closed when the status is final

	status runtime.Status // guarded by Driver.mu
}

// process is what a container runs: a guest, or a server that has guests run.
type process interface {
	Done() <-chan struct{}
	Exit() wasm.Exit
	Terminate()
	Kill()
	Usage() (cpu time.Duration, memory int64)
}

// run starts a guest with its output in the log.
func (d *Driver) run(ctx context.Context, m *wasm.Module, s runtime.Spec) (*container, error) {
	var network wasip1.Network
	if d.config.Network != nil {
		var err error
		if network, err = d.config.Network(s); err != nil {
			return nil, err
		}
	}
	out, err := openOutput(s)
	if err != nil {
		return nil, err
	}
	c := &container{spec: s, network: network, output: out, done: make(chan struct{})}
	guest := guestSpec(s, network)
	c.limits = wasm.NewLimits(guest.MemoryBytes, guest.CPUMillis)
	guest.Limits, guest.Stdout, guest.Stderr = c.limits, out.stdout, out.stderr
	if s.Stdin {
		c.stdin = newStdin(s.StdinOnce)
		guest.Stdin = c.stdin
	}
	started := time.Now()
	if c.instance, err = d.begin(ctx, m, c, guest); err != nil {
		return nil, errors.Join(err, out.close())
	}
	c.status = runtime.Status{ID: s.ID, State: runtime.Running, Started: started, ContainerID: containerID(s.ID)}
	return c, nil
}

// begin starts the container's process.
func (d *Driver) begin(ctx context.Context, m *wasm.Module, c *container, guest wasm.Spec) (process, error) {
	if !d.config.HTTP {
		return d.config.Host.Start(ctx, m, guest)
	}
	own, err := Compile(ctx, d.config.Host, c.spec.Image) // the server keeps it
	if err != nil {
		return nil, err
	}
	s, err := startHTTP(ctx, d.config.Host, own, c, guest, d.log)
	if err != nil {
		own.Release()
		return nil, err
	}
	return s, nil
}

// finish waits until the guest has ended, and closes the log.
func (c *container) finish() error {
	<-c.instance.Done()
	return c.output.close()
}

// exited returns the final status.
func (c *container) exited() runtime.Status {
	exit := c.instance.Exit()
	s := c.status
	s.State, s.Finished = runtime.Exited, time.Now()
	s.ExitCode, s.Reason, s.Message = exit.Code, exit.Reason, exit.Message
	if message := tail(c.spec.TerminationMessagePath, maxMessage); message != "" {
		s.Message = message
	}
	return s
}

// tail returns the last bytes of a file; "" if there is none that can be read.
func tail(path string, most int64) string {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close() // only read: nothing can be lost
	data, err := io.ReadAll(io.NewSectionReader(f, max(0, info.Size()-most), most))
	if err != nil {
		return ""
	}
	return string(data)
}

// output is the log of one run.
type output struct {
	log            *logfile.Writer
	stdout, stderr *feed
}

func openOutput(s runtime.Spec) (*output, error) {
	log, err := logfile.Create(s.LogPath, logfile.Options{MaxBytes: s.LogMaxBytes, MaxFiles: s.LogMaxFiles})
	if err != nil {
		return nil, err
	}
	return &output{log: log, stdout: newFeed(log.Stream("stdout")), stderr: newFeed(log.Stream("stderr"))}, nil
}

func (o *output) close() error {
	return errors.Join(o.stdout.log.Close(), o.stderr.log.Close(), o.log.Close())
}

func containerID(id runtime.ID) string {
	return fmt.Sprintf("wasm://%s/%s/%d", id.Pod, id.Container, id.Attempt)
}
