package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Exec runs a command in the container that is asked, and returns its exit code.
type Exec func(ctx context.Context, command []string, output io.Writer) (exitCode int, err error)

// ErrUnknown says that a container could not be asked: that tells nothing about it.
var ErrUnknown = errors.New("the command could not be run")

// exec runs the command. It is well if the exit code is 0.
func (t Target) exec(ctx context.Context, a *corev1.ExecAction) error {
	if t.Exec == nil {
		return ErrUnsupported
	}
	begun := time.Now()
	output, code, err := Run(ctx, t.Exec, a.Command)
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("command timed out: %q timed out after %v", strings.Join(a.Command, " "), time.Since(begun).Round(time.Second))
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	case code != 0:
		return errors.New(output)
	}
	return nil
}

// Run runs a command and returns the beginning of its output.
func Run(ctx context.Context, exec Exec, command []string) (output string, exitCode int, err error) {
	w := &beginning{}
	code, err := exec(ctx, command, w)
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.ToValidUTF8(w.b.String(), ""), code, err
}

// beginning keeps the first maxBody bytes of what is written.
type beginning struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *beginning) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.b.Write(b[:min(len(b), maxBody-w.b.Len())])
	return len(b), nil
}
