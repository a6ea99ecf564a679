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
	"wherry/nodeagent/runtime/logfile"
	"wherry/proto/link"
	"wherry/proto/nodelink"
)

func (s *Server) log(o *nodelink.Log) (Serve, error) {
	p, status, err := s.pod(o.GetPodUid())
	if err != nil {
		return nil, err
	}
	id, err := run(p, status, o.GetContainer(), o.GetPrevious())
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(s.LogPath(id)); err != nil {
		return nil, fmt.Errorf("the log of container %q is not here: it has been removed, or nothing was ever written", o.GetContainer())
	}
	return func(ctx context.Context, st link.Stream) { s.end(st, s.copyLog(ctx, st, id, readOptions(o))) }, nil
}

// errGone says that nobody reads the log any more.
var errGone = errors.New("the reader of the log has gone")

// copyLog sends the log until it ends, or nobody reads it any more.
func (s *Server) copyLog(ctx context.Context, st link.Stream, id runtime.ID, o logfile.ReadOptions) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var helpers sync.WaitGroup
	defer helpers.Wait()
	defer cancel(nil)
	if o.Follow {
		ended := make(chan struct{})
		o.Done = ended
		helpers.Go(func() {
			defer close(ended)
			s.Ended(ctx, id)
		})
	}
	helpers.Go(func() {
		// The peer has nothing to say: when the stream ends, it has lost interest.
		if _, err := io.Copy(io.Discard, st); err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			cancel(errGone)
		}
	})
	defer st.SetReadDeadline(time.Unix(1, 0)) // a stream that takes no deadline has ended
	err := logfile.Read(ctx, s.LogPath(id), o, st)
	if errors.Is(err, errGone) || ctx.Err() != nil {
		return nil
	}
	return err
}

func readOptions(o *nodelink.Log) logfile.ReadOptions {
	options := logfile.ReadOptions{Follow: o.GetFollow(), Timestamps: o.GetTimestamps(), LimitBytes: o.GetLimitBytes(), Stream: o.GetStream()}
	if n := o.GetTailLines(); n >= 0 {
		options.Tail = &n
	}
	if since := o.GetSinceUnixNano(); since != 0 {
		options.Since = time.Unix(0, since)
	}
	return options
}

// run finds which run of the container is meant, or says why there is none, as a kubelet words it.
func run(p *corev1.Pod, status *corev1.PodStatus, container string, previous bool) (runtime.ID, error) {
	all := slices.Concat(status.InitContainerStatuses, status.ContainerStatuses)
	i := slices.IndexFunc(all, func(c corev1.ContainerStatus) bool { return c.Name == container })
	if i < 0 {
		return runtime.ID{}, fmt.Errorf("container %q in pod %q is not available", container, p.Name)
	}
	c := all[i]
	id := runtime.ID{Pod: string(p.UID), Container: container, Attempt: int(c.RestartCount)}
	waits := c.State.Waiting != nil
	switch {
	case previous && c.LastTerminationState.Terminated == nil:
		return id, fmt.Errorf("previous terminated container %q in pod %q not found", container, p.Name)
	case previous && !waits:
		id.Attempt--
	case waits && c.LastTerminationState.Terminated == nil:
		return id, fmt.Errorf("container %q in pod %q is waiting to start: %s", container, p.Name, c.State.Waiting.Reason)
	}
	return id, nil
}
