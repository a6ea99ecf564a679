package fake

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"wherry/nodeagent/runtime"
)

// running is the container if it runs.
func (d *Driver) running(id runtime.ID) (*container, error) {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	c := d.m.containers[id]
	if c == nil || c.status.State != runtime.Running {
		return nil, fmt.Errorf("%s: %w", name(id), runtime.ErrNotFound)
	}
	return c, nil
}

// Exec implements runtime.Execer. It ends with the container.
func (d *Driver) Exec(ctx context.Context, id runtime.ID, command []string, c runtime.Console) (int, error) {
	in, err := d.running(id)
	if err != nil {
		return 0, err
	}
	out, warnings := orDiscard(c.Stdout), orDiscard(c.Stderr)
	words := strings.Join(command[1:], " ")
	switch command[0] {
	case "echo":
		_, err = fmt.Fprintln(out, words)
	case "warn":
		_, err = fmt.Fprintln(warnings, words)
	case "cat":
		if c.Stdin != nil {
			_, err = io.Copy(out, c.Stdin)
		}
	case "exit":
		return strconv.Atoi(words)
	case "sleep":
		select {
		case <-in.ended:
			return 137, nil
		case <-ctx.Done():
			return 137, context.Cause(ctx)
		}
	case "size":
		err = sizes(ctx, in, out, c.Resize)
	default:
		return 127, fmt.Errorf("%s: not found", command[0])
	}
	return 0, err
}

func sizes(ctx context.Context, in *container, out io.Writer, resize <-chan runtime.Size) error {
	for {
		select {
		case size := <-resize:
			if _, err := fmt.Fprintf(out, "%dx%d\n", size.Columns, size.Rows); err != nil {
				return err
			}
		case <-in.ended:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Attach implements runtime.Execer.
func (d *Driver) Attach(ctx context.Context, id runtime.ID, c runtime.Console) error {
	in, err := d.running(id)
	if err != nil {
		return err
	}
	var echoing sync.WaitGroup
	defer echoing.Wait()
	if c.Stdin != nil {
		echoing.Go(func() { _, _ = io.Copy(orDiscard(c.Stdout), c.Stdin) }) // it ends with the attachment
		defer c.Stdin.Close()                                               // a pipe never fails to close
	}
	select {
	case <-in.ended:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}
