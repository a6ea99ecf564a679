package wasm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"

	"wherry/nodeagent/runtime"
	"wherry/nodeagent/runtime/guestfs"
	"wherry/wasm"
)

var _ runtime.Execer = (*Driver)(nil)

// Exit codes of commands that were not run, as a shell has them.
const (
	codeNoProgram = 126
	codeNotFound  = 127
)

// ErrTerminal is the answer to who wants a terminal.
var ErrTerminal = errors.New("a Wasm guest has no terminal: leave out -t (--tty)")

// running returns the container if it runs, and holds Close back until the caller is done.
func (d *Driver) running(id runtime.ID) (c *container, done func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c = d.containers[id]
	if d.closed || c == nil || c.status.State != runtime.Running {
		return nil, nil, fmt.Errorf("container %s: %w", id.Container, runtime.ErrNotFound)
	}
	d.ends.Add(1)
	return c, d.ends.Done, nil
}

// Exec implements runtime.Execer. The command's first word is the container's own program or a module in its mounts, which
// runs beside the container's guest and takes its share of the container's limits; or one of the few that
// package guestfs does itself. A command that cannot be run is told on its standard error, with the code of a shell.
func (d *Driver) Exec(ctx context.Context, id runtime.ID, command []string, console runtime.Console) (int, error) {
	c, done, err := d.running(id)
	if err != nil {
		return 0, err
	}
	defer done()
	if console.TTY {
		return 0, ErrTerminal
	}
	ctx, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel()
	watch.Go(func() {
		select {
		case <-c.instance.Done(): // nothing outlives the container
			cancel()
		case <-ctx.Done():
		}
		closeInput(console)
	})
	return d.exec(ctx, c, command, console)
}

func closeInput(c runtime.Console) {
	if c.Stdin != nil {
		_ = c.Stdin.Close() // it ends a Read that waits
	}
}

func (d *Driver) exec(ctx context.Context, c *container, command []string, console runtime.Console) (int, error) {
	name := command[0]
	switch {
	case c.isSelf(name):
		m, err := Compile(ctx, d.config.Host, c.spec.Image)
		if err != nil {
			return 0, err
		}
		return d.guest(ctx, c, m, command, console)
	case guestfs.Has(name):
		fs, err := guestfs.Open(c.spec.Mounts, workDir(c.spec))
		if err != nil {
			return 0, err
		}
		defer fs.Close() // nothing was written through it that is not in its files
		return fs.Run(ctx, command, guestfs.Streams{Stdin: input(console), Stdout: orDiscard(console.Stdout), Stderr: orDiscard(console.Stderr)}), nil
	case path.Ext(name) == ".wasm":
		return d.file(ctx, c, command, console)
	}
	return refuse(console, codeNotFound, name, "not found: a Wasm container has no programs but its own, "+
		strings.Join(c.names(), " or ")+", and files of its mounts that end in .wasm")
}

// maxModule is how large a module in a mount may be, in bytes.
const maxModule = 64 << 20

// file runs a module that lies in a mount.
func (d *Driver) file(ctx context.Context, c *container, command []string, console runtime.Console) (int, error) {
	fs, err := guestfs.Open(c.spec.Mounts, workDir(c.spec))
	if err != nil {
		return 0, err
	}
	defer fs.Close() // it was only read
	module, err := fs.ReadFile(command[0], maxModule)
	if err != nil {
		return refuse(console, codeNotFound, command[0], err.Error())
	}
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(module))
	m, err := d.config.Host.Compile(ctx, digest, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(module)), nil })
	switch {
	case errors.Is(err, wasm.ErrNotModule), errors.Is(err, wasm.ErrUnsupported):
		return refuse(console, codeNoProgram, command[0], err.Error())
	case err != nil:
		return 0, err
	}
	return d.guest(ctx, c, m, command, console)
}

// guest runs a module beside the container's guest. It releases the module.
func (d *Driver) guest(ctx context.Context, c *container, m *wasm.Module, command []string, console runtime.Console) (int, error) {
	defer m.Release()
	s := guestSpec(c.spec, c.network)
	s.Args, s.Listen, s.Limits, s.OutputRate = command, nil, c.limits, 0
	s.Stdin, s.Stdout, s.Stderr = input(console), orDiscard(console.Stdout), orDiscard(console.Stderr)
	i, err := d.config.Host.Start(ctx, m, s)
	if err != nil {
		return 0, err
	}
	select {
	case <-i.Done():
	case <-ctx.Done():
		i.Kill()
		<-i.Done()
	}
	exit := i.Exit()
	if exit.Message != "" {
		_, _ = fmt.Fprintln(orDiscard(console.Stderr), exit.Message) // the code tells, too
	}
	return exit.Code, nil
}

func refuse(console runtime.Console, code int, name, why string) (int, error) {
	_, err := fmt.Fprintf(orDiscard(console.Stderr), "%s: %s\n", name, why)
	return code, err
}

// names are what the container's own program is called by.
func (c *container) names() []string {
	own := arguments(c.spec)[0]
	all := []string{own}
	for _, name := range []string{strings.TrimSuffix(path.Base(own), ".wasm"), imageName(c.spec.Image.Ref)} {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

func (c *container) isSelf(name string) bool { return slices.Contains(c.names(), name) }

func workDir(s runtime.Spec) string {
	if s.Dir != "" {
		return s.Dir
	}
	return s.Image.Dir
}

// input is the console's standard input as an io.Reader that is nil if there is none.
func input(c runtime.Console) io.Reader {
	if c.Stdin == nil {
		return nil
	}
	return c.Stdin
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

// Attach implements runtime.Execer. What is typed is lost unless the container has stdin.
func (d *Driver) Attach(ctx context.Context, id runtime.ID, console runtime.Console) error {
	c, done, err := d.running(id)
	if err != nil {
		return err
	}
	defer done()
	if console.TTY {
		return ErrTerminal
	}
	ctx, cancel := context.WithCancel(ctx)
	var typing, output sync.WaitGroup
	defer typing.Wait()
	defer closeInput(console)
	defer cancel()
	var errs [2]error
	for i, f := range []*feed{c.output.stdout, c.output.stderr} {
		sink := []io.Writer{console.Stdout, console.Stderr}[i]
		if sink == nil {
			continue
		}
		w := f.watch(sink)
		output.Go(func() {
			if errs[i] = w.follow(c.done, ctx.Done()); errs[i] != nil {
				cancel()
			}
		})
	}
	if console.Stdin != nil && c.stdin != nil { // once all that comes of it is seen
		typing.Go(func() { c.stdin.take(console.Stdin, ctx.Done()) })
	}
	select {
	case <-c.done:
	case <-ctx.Done():
	}
	output.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	return context.Cause(ctx)
}
