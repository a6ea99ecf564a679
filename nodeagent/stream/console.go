package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"wherry/nodeagent/runtime"
	"wherry/proto/link"
	"wherry/proto/nodelink"
)

func (s *Server) exec(ctx context.Context, o *nodelink.Exec) (Serve, error) {
	if len(o.GetCommand()) == 0 {
		return nil, errors.New("you must specify at least 1 command for the container")
	}
	return s.console(ctx, o.GetPodUid(), o.GetContainer(), o.GetStreams(),
		func(ctx context.Context, x runtime.Execer, id runtime.ID, c runtime.Console) (int, error) {
			return x.Exec(ctx, id, o.GetCommand(), c)
		})
}

func (s *Server) attach(ctx context.Context, o *nodelink.Attach) (Serve, error) {
	return s.console(ctx, o.GetPodUid(), o.GetContainer(), o.GetStreams(),
		func(ctx context.Context, x runtime.Execer, id runtime.ID, c runtime.Console) (int, error) {
			return 0, x.Attach(ctx, id, c)
		})
}

type process func(context.Context, runtime.Execer, runtime.ID, runtime.Console) (int, error)

// console decides about an exec or attach.
func (s *Server) console(ctx context.Context, uid, container string, streams *nodelink.Streams, run process) (Serve, error) {
	p, status, err := s.pod(uid)
	if err != nil {
		return nil, err
	}
	id, err := runningNow(p, status, container)
	if err != nil {
		return nil, err
	}
	driver, err := s.Execer(ctx, id)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, st link.Stream) {
		s.end(st, carry(ctx, st, streams, func(ctx context.Context, c runtime.Console) (int, error) {
			return run(ctx, driver, id, c)
		}))
	}, nil
}

// runningNow is the container's run that goes on, or why there is none, as a kubelet words it.
func runningNow(p *corev1.Pod, status *corev1.PodStatus, container string) (runtime.ID, error) {
	all := slices.Concat(status.InitContainerStatuses, status.ContainerStatuses, status.EphemeralContainerStatuses)
	i := slices.IndexFunc(all, func(c corev1.ContainerStatus) bool { return c.Name == container })
	if i < 0 {
		return runtime.ID{}, fmt.Errorf("container not found (%q)", container)
	}
	if all[i].State.Running == nil {
		return runtime.ID{}, fmt.Errorf("container %q in pod %q is not running", container, p.Name)
	}
	return runtime.ID{Pod: string(p.UID), Container: container, Attempt: int(all[i].RestartCount)}, nil
}

// carry connects the stream's messages with a console until run has ended, and says how it did. A peer that goes away
// ends the context of run.
func carry(ctx context.Context, st link.Stream, o *nodelink.Streams, run func(context.Context, runtime.Console) (int, error)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var reading sync.WaitGroup
	defer reading.Wait()
	defer st.SetReadDeadline(time.Unix(1, 0)) // a stream that takes no deadline has ended
	defer cancel(nil)

	out := &outlet{stream: st}
	c := runtime.Console{TTY: o.GetTty()}
	if o.GetStdout() {
		c.Stdout = out.writer(func(b []byte) *nodelink.Console { return &nodelink.Console{Body: &nodelink.Console_Stdout{Stdout: b}} })
	}
	if o.GetStderr() && !o.GetTty() {
		c.Stderr = out.writer(func(b []byte) *nodelink.Console { return &nodelink.Console{Body: &nodelink.Console_Stderr{Stderr: b}} })
	}
	in := &inlet{stream: st, sizes: make(chan runtime.Size, 1)}
	stdin, typed := io.Pipe()
	if o.GetStdin() {
		c.Stdin, in.stdin = stdin, make(chan []byte, typedAhead)
		typing := in.stdin
		reading.Go(func() { handOver(typed, typing) })
	}
	if o.GetTty() {
		c.Resize = in.sizes
	}
	reading.Go(func() {
		err := in.read(ctx)
		in.closeStdin()
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			cancel(errGone)
		}
	})
	code, err := run(ctx, c)
	_ = stdin.CloseWithError(errEnded)
	exit := &nodelink.Exit{Code: int32(code)}
	if err != nil {
		exit.Error = err.Error()
	}
	if errors.Is(context.Cause(ctx), errGone) {
		return nil
	}
	return out.send(&nodelink.Console{Body: &nodelink.Console_Exit{Exit: exit}})
}

// errEnded is what a write to the stdin of a process gets that has ended.
var errEnded = errors.New("the process has ended")

// typedAhead is how many messages of stdin wait for a process that does not read. Beyond it the stream is not
// read, and a user who leaves is noticed only when the process reads on or writes.
const typedAhead = 16

// inlet is what the user does.
type inlet struct {
	stream link.Stream
	stdin  chan []byte // nil: none, or at its end
	sizes  chan runtime.Size
}

// handOver gives stdin to the process.
func handOver(to *io.PipeWriter, typed <-chan []byte) {
	for b := range typed {
		_, _ = to.Write(b) // nobody reads it any more: the rest goes the same way
	}
	_ = to.Close() // it never fails
}

func (in *inlet) closeStdin() {
	if in.stdin != nil {
		close(in.stdin)
		in.stdin = nil
	}
}

// read hands over what comes until the stream or ctx ends.
func (in *inlet) read(ctx context.Context) error {
	for {
		m := &nodelink.Console{}
		if err := nodelink.ReadMessage(in.stream, m, nodelink.MaxConsole); err != nil {
			return err
		}
		switch body := m.Body.(type) {
		case *nodelink.Console_Stdin:
			if in.stdin == nil {
				continue
			}
			select {
			case in.stdin <- body.Stdin:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		case *nodelink.Console_StdinClosed:
			in.closeStdin()
		case *nodelink.Console_Resize:
			in.resize(runtime.Size{Columns: uint16(body.Resize.GetColumns()), Rows: uint16(body.Resize.GetRows())})
		}
	}
}

// resize leaves the newest size for who wants to know.
func (in *inlet) resize(size runtime.Size) {
	select {
	case <-in.sizes:
	default: // there is no older one
	}
	in.sizes <- size
}

// outlet is what the user sees: messages from several writers.
type outlet struct {
	mu     sync.Mutex // held over writes, so that messages do not mix: the stream's own flow control is what waits
	stream link.Stream
}

func (o *outlet) send(m *nodelink.Console) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return nodelink.WriteMessage(o.stream, m)
}

func (o *outlet) writer(wrap func([]byte) *nodelink.Console) io.Writer {
	return writerFunc(func(b []byte) error { return o.send(wrap(b)) })
}

// writerFunc writes in pieces that fit into a message.
type writerFunc func([]byte) error

func (f writerFunc) Write(b []byte) (int, error) {
	const piece = nodelink.MaxConsole / 2
	done := 0
	for part := range slices.Chunk(b, piece) {
		if err := f(part); err != nil {
			return done, err
		}
		done += len(part)
	}
	return done, nil
}
