package apiserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	remoteconsts "k8s.io/apimachinery/pkg/util/remotecommand"

	"wherry/orchestrator/apiserver/remotecommand"
	"wherry/proto/link"
	"wherry/proto/nodelink"
)

// exec answers pods/NAME/exec: a further process in a container.
func (c *call) exec() error {
	query := c.r.URL.Query()
	command := query["command"]
	return c.console("executing command in container", func(pod *corev1.Pod, container string, streams *nodelink.Streams) (*nodelink.Open, error) {
		if len(command) == 0 {
			return nil, apierrors.NewBadRequest("you must specify at least 1 command for the container")
		}
		return &nodelink.Open{Body: &nodelink.Open_Exec{Exec: &nodelink.Exec{
			PodUid: string(pod.UID), Container: container, Command: command, Streams: streams}}}, nil
	}, func(code int32) string {
		return fmt.Sprintf("command terminated with non-zero exit code: error executing command %v, exit code %d", command, code)
	})
}

// attach answers pods/NAME/attach: the process that a container runs.
func (c *call) attach() error {
	return c.console("attaching to container", func(pod *corev1.Pod, container string, streams *nodelink.Streams) (*nodelink.Open, error) {
		return &nodelink.Open{Body: &nodelink.Open_Attach{Attach: &nodelink.Attach{
			PodUid: string(pod.UID), Container: container, Streams: streams}}}, nil
	}, func(code int32) string { return fmt.Sprintf("the container ended with exit code %d", code) })
}

// console connects the client with a process. What stands in the way before the connection is taken over is an
// answer like any other.
func (c *call) console(doing string, open func(*corev1.Pod, string, *nodelink.Streams) (*nodelink.Open, error), failed func(code int32) string) error {
	pod, err := c.pod()
	if err != nil {
		return err
	}
	query := c.r.URL.Query()
	container, err := containerOf(pod, query.Get("container"))
	if err != nil {
		return err
	}
	if pod.Spec.NodeName == "" {
		return apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", pod.Name))
	}
	asked, err := streamsAsked(query)
	if err != nil {
		return err
	}
	o, err := open(pod, container, &nodelink.Streams{Stdin: asked.Stdin, Stdout: asked.Stdout, Stderr: asked.Stderr, Tty: asked.TTY})
	if err != nil {
		return err
	}
	c.s.streams.Add(1)
	defer c.s.streams.Done()
	ctx, cancel := c.streamContext()
	defer cancel()
	stream, err := c.open(ctx, pod, o)
	if err != nil {
		return err
	}
	var typing sync.WaitGroup
	defer typing.Wait() // it ends with the client's connection
	err = remotecommand.Serve(ctx, c.w, c.r, asked, c.s.log, func(ctx context.Context, streams *remotecommand.Streams) *metav1.Status {
		exit, err := relayConsole(ctx, stream, streams, &typing)
		return consoleStatus(exit, err, doing, failed)
	})
	stream.Reset(link.CodeCanceled) // also if it never came to a connection
	if errors.Is(err, remotecommand.ErrUpgrade) {
		return apierrors.NewBadRequest("Upgrade request required: " + err.Error())
	}
	return err
}

// streamsAsked reads which streams the client wants. Errors: 400.
func streamsAsked(query url.Values) (remotecommand.Options, error) {
	o := remotecommand.Options{
		Stdin: truthy(query["stdin"]), Stdout: truthy(query["stdout"]), Stderr: truthy(query["stderr"]), TTY: truthy(query["tty"]),
	}
	if !o.Stdin && !o.Stdout && !o.Stderr {
		return o, apierrors.NewBadRequest("you must specify at least one of stdin, stdout, stderr")
	}
	return o, nil
}

// relayConsole carries the client's streams over the agent's until the process has ended, which ends the agent's
// stream. What typing then still waits for ends with the client's connection.
func relayConsole(ctx context.Context, agent link.Stream, streams *remotecommand.Streams, typing *sync.WaitGroup) (*nodelink.Exit, error) {
	stop := context.AfterFunc(ctx, func() { agent.Reset(link.CodeCanceled) })
	defer stop()
	defer agent.Reset(link.CodeCanceled) // it has ended, or is of no interest any more
	up := &consoleWriter{stream: agent}
	if streams.Stdin != nil {
		typing.Go(func() { up.typed(streams.Stdin) })
	}
	typing.Go(func() { up.resized(streams.Resize) })
	for {
		m := &nodelink.Console{}
		if err := nodelink.ReadMessage(agent, m, nodelink.MaxConsole); err != nil {
			return nil, fmt.Errorf("the connection to the node broke off: %w", err)
		}
		var err error
		switch body := m.Body.(type) {
		case *nodelink.Console_Stdout:
			err = deliver(streams.Stdout, body.Stdout)
		case *nodelink.Console_Stderr:
			err = deliver(streams.Stderr, body.Stderr)
		case *nodelink.Console_Exit:
			return body.Exit, nil
		}
		if err != nil {
			return nil, fmt.Errorf("the client takes no output: %w", err)
		}
	}
}

func deliver(to io.Writer, b []byte) error {
	if to == nil {
		return nil
	}
	_, err := to.Write(b)
	return err
}

// consoleWriter sends what the user does. Errors mean that the stream has ended, which who reads it notices.
type consoleWriter struct {
	mu     sync.Mutex // messages do not mix
	stream link.Stream
}

func (w *consoleWriter) send(m *nodelink.Console) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return nodelink.WriteMessage(w.stream, m)
}

func (w *consoleWriter) typed(from io.Reader) {
	b := make([]byte, nodelink.MaxConsole/2)
	for {
		n, err := from.Read(b)
		if n > 0 && w.send(&nodelink.Console{Body: &nodelink.Console_Stdin{Stdin: b[:n]}}) != nil {
			return
		}
		if err != nil {
			_ = w.send(&nodelink.Console{Body: &nodelink.Console_StdinClosed{StdinClosed: true}})
			return
		}
	}
}

func (w *consoleWriter) resized(sizes <-chan remotecommand.Size) {
	for size := range sizes {
		m := &nodelink.Size{Columns: uint32(size.Width), Rows: uint32(size.Height)}
		if w.send(&nodelink.Console{Body: &nodelink.Console_Resize{Resize: m}}) != nil {
			return
		}
	}
}

// consoleStatus is the last word to the client, as a kubelet words it.
func consoleStatus(exit *nodelink.Exit, err error, doing string, failed func(code int32) string) *metav1.Status {
	if err == nil && exit.GetError() != "" {
		err = errors.New(exit.GetError())
	}
	switch {
	case err != nil:
		return &apierrors.NewInternalError(fmt.Errorf("error %s: %w", doing, err)).ErrStatus
	case exit.GetCode() == 0:
		return &metav1.Status{Status: metav1.StatusSuccess}
	}
	code := strconv.Itoa(int(exit.GetCode()))
	return &metav1.Status{
		Status: metav1.StatusFailure, Reason: remoteconsts.NonZeroExitCodeReason,
		Message: failed(exit.GetCode()),
		Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: remoteconsts.ExitCodeCauseType, Message: code}}},
	}
}
