package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	quantity "k8s.io/apimachinery/pkg/api/resource"

	"wherry/wasm"
	"wherry/wasm/wasip1"
)

// running are the flags of run.
type running struct {
	engine
	dirs, env, ports []string
	dir              string
	net              bool
	cpu, memory      string
	grace            time.Duration
}

func newRun(streams Streams) *cobra.Command {
	r := &running{}
	c := &cobra.Command{
		Use: "run FILE [flags] [-- ARGS...]", Short: "Run a module in the sandbox that pods have",
		Long: "Run a module in the sandbox that pods have: it sees the directories, the environment and the network that it is\n" +
			"given and nothing else, and ends with its own exit code; 134 after a trap, 137 when it was killed or had no\n" +
			"more memory. An interrupt asks it to stop, and ends it after the grace period; a second one ends it now.",
		Example: "  wherry wasm run hello.wasm --env NAME=world\n" +
			"  wherry wasm run tool.wasm --dir .:/work --memory 64Mi --cpu 500m -- --verbose /work/file\n" +
			"  wherry wasm run server.wasm --net --port 8080",
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return r.run(c.Context(), streams, args[0], args[1:]) },
	}
	r.engine.flags(c)
	f := c.Flags()
	f.SetInterspersed(true)
	f.StringArrayVar(&r.dirs, "dir", nil, "HOST:GUEST[:ro]: a directory or file of this machine, and where the module sees it")
	f.StringArrayVar(&r.env, "env", nil, "NAME=VALUE: a variable of its environment; NAME: with the value that it has here")
	f.StringVar(&r.dir, "workdir", "", "the working directory that the module is told (PWD)")
	f.BoolVar(&r.net, "net", false, "let its sockets use the network of this machine")
	f.StringArrayVar(&r.ports, "port", nil, "[IP:]PORT: a TCP listener to hand to it, as a pod's declared port; on 127.0.0.1 by default; needs --net")
	f.StringVar(&r.cpu, "cpu", "", "CPU limit, in cores: 500m, 2; none by default")
	f.StringVar(&r.memory, "memory", strconv.Itoa(wasm.DefaultMemory>>20)+"Mi", "memory limit")
	f.DurationVar(&r.grace, "grace-period", 30*time.Second, "how long it may take to stop after an interrupt")
	return c
}

func (r *running) run(ctx context.Context, streams Streams, file string, args []string) (err error) {
	spec, err := r.spec(streams, file, args)
	if err != nil {
		return err
	}
	host, err := r.host(streams.Err)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, host.Close()) }()
	digest, open, err := open(file)
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	module, err := host.Compile(ctx, digest, open)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	defer module.Release()
	instance, err := host.Start(ctx, module, spec)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	wait(instance, signals, r.grace)
	return report(instance.Exit(), streams.Err)
}

// wait returns when the guest has ended, which signals bring about.
func wait(i *wasm.Instance, signals <-chan os.Signal, grace time.Duration) {
	select {
	case <-i.Done():
		return
	case <-signals:
	}
	i.Terminate()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-i.Done():
		return
	case <-signals:
	case <-timer.C:
	}
	i.Kill()
	<-i.Done()
}

// report says why the guest ended, unless it did so by itself.
func report(e wasm.Exit, w io.Writer) error {
	if e.Message != "" {
		if _, err := fmt.Fprintf(w, "wherry: %s: %s\n", e.Reason, e.Message); err != nil {
			return err
		}
	}
	if e.Code != 0 {
		return ExitCode(e.Code)
	}
	return nil
}

// spec makes of the flags what a pod's container would be.
func (r *running) spec(streams Streams, file string, args []string) (wasm.Spec, error) {
	name := strings.TrimSuffix(filepath.Base(file), ".wasm")
	s := wasm.Spec{
		Tenant: "local", Name: name, Args: append([]string{name}, args...), Dir: r.dir,
		Stdin: &stdin{source: streams.In}, Stdout: streams.Out, Stderr: streams.Err,
	}
	var err error
	if s.Mounts, err = each(r.dirs, mount); err != nil {
		return s, err
	}
	if s.Env, err = each(r.env, variable); err != nil {
		return s, err
	}
	if s.Listen, err = each(r.ports, address); err != nil {
		return s, err
	}
	if r.net {
		s.Network = machine{}
	} else if len(s.Listen) > 0 {
		return s, errors.New("--port needs --net")
	}
	if r.cpu != "" {
		q, err := quantity.ParseQuantity(r.cpu)
		if err != nil || q.Sign() <= 0 {
			return s, fmt.Errorf("--cpu %s is no amount of cores, such as 500m or 2", r.cpu)
		}
		s.CPUMillis = q.MilliValue()
	}
	q, err := quantity.ParseQuantity(r.memory)
	if err != nil || q.Value() < 64<<10 {
		return s, fmt.Errorf("--memory %s is no amount of memory of 64Ki at least, such as 64Mi", r.memory)
	}
	s.MemoryBytes = q.Value()
	return s, nil
}

// each translates the values of a flag.
func each[T any](values []string, translate func(string) (T, error)) (list []T, err error) {
	for _, v := range values {
		t, err := translate(v)
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, nil
}

// mount reads HOST:GUEST[:ro]. The last colon divides, so that HOST may begin with a drive's letter; two colons do as
// well, as other runtimes have it.
func mount(v string) (m wasip1.Mount, err error) {
	rest, readOnly := strings.CutSuffix(v, ":ro")
	i := strings.LastIndex(rest, ":")
	if i <= 0 || i == len(rest)-1 || i == len(filepath.VolumeName(rest))-1 {
		return m, fmt.Errorf("--dir %s: it takes HOST:GUEST", v)
	}
	host, err := filepath.Abs(strings.TrimSuffix(rest[:i], ":"))
	return wasip1.Mount{Host: host, Guest: rest[i+1:], ReadOnly: readOnly}, err
}

// variable reads NAME=VALUE, or NAME for the value that it has here.
func variable(v string) (string, error) {
	name, _, set := strings.Cut(v, "=")
	if name == "" {
		return "", fmt.Errorf("--env %s: it takes NAME=VALUE", v)
	}
	if !set {
		v = name + "=" + os.Getenv(name)
	}
	return v, nil
}

// address reads [IP:]PORT.
func address(v string) (wasip1.Address, error) {
	full := v
	if !strings.Contains(v, ":") {
		full = "127.0.0.1:" + v
	}
	a, err := netip.ParseAddrPort(full)
	if err != nil {
		return wasip1.Address{}, fmt.Errorf("--port %s: it takes [IP:]PORT", v)
	}
	return wasip1.Address{Network: "tcp", Addr: a}, nil
}

// stdin reads a source that cannot be interrupted: Close ends the reads, and leaves the one that waits to the end of
// the process.
type stdin struct {
	source io.Reader
	start  sync.Once
	pipe   *io.PipeReader
}

func (s *stdin) open() {
	s.start.Do(func() {
		r, w := io.Pipe()
		s.pipe = r
		go func() { // ends with the source, or with the process: a Read of a terminal cannot be ended
			_, err := io.Copy(w, s.source)
			w.CloseWithError(err)
		}()
	})
}

func (s *stdin) Read(b []byte) (int, error) {
	s.open()
	return s.pipe.Read(b)
}

func (s *stdin) Close() error {
	s.start.Do(func() { s.pipe, _ = io.Pipe() }) // nothing was read, and nothing will be
	return s.pipe.Close()
}
