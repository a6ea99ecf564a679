package apiserver

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"wherry/proto/link"
	"wherry/proto/nodelink"
)

// log answers pods/NAME/log with the bytes that the pod's agent sends.
func (c *call) log() error {
	o, err := logOptions(c.at.name, c.r.URL.Query())
	if err != nil {
		return err
	}
	pod, err := c.pod()
	if err != nil {
		return err
	}
	if o.Container, err = containerOf(pod, o.Container); err != nil {
		return err
	}
	if pod.Spec.NodeName == "" {
		c.beginLog()
		return nil
	}
	if err := hasLog(pod, o.Container, o.Previous); err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	ctx, cancel := c.streamContext()
	defer cancel()
	stream, err := c.open(ctx, pod, &nodelink.Open{Body: &nodelink.Open_Log{Log: logRequest(pod, o)}})
	if err != nil {
		return err
	}
	c.beginLog()
	c.copyLog(ctx, stream)
	return nil
}

func (c *call) beginLog() {
	c.w.Header().Set("Content-Type", "text/plain")
	c.w.WriteHeader(http.StatusOK)
}

// copyLog sends what comes until the agent has no more or ctx ends. The head is out: a
// log that breaks off breaks the connection.
func (c *call) copyLog(ctx context.Context, stream link.Stream) {
	stop := context.AfterFunc(ctx, func() { stream.Reset(link.CodeCanceled) })
	defer stop()
	defer func() { _ = stream.Close() }() // it has ended, or is of no interest any more
	_, err := io.Copy(newDripper(c.w), stream)
	if err == nil || ctx.Err() != nil {
		return
	}
	c.s.log.Debug("a log broke off", "path", c.r.URL.Path, "error", err)
	panic(http.ErrAbortHandler)
}

// dripper sends every write on at once, and drops a reader that takes nothing.
type dripper struct {
	w       io.Writer
	control *http.ResponseController
}

func newDripper(w http.ResponseWriter) *dripper {
	d := &dripper{w: w, control: http.NewResponseController(w)}
	_ = d.control.Flush() // a client that has gone is noticed by the next write
	return d
}

func (d *dripper) Write(b []byte) (int, error) {
	// Not every ResponseWriter has deadlines; those of servers do.
	_ = d.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	n, err := d.w.Write(b)
	if err != nil {
		return n, err
	}
	return n, d.control.Flush()
}

func logRequest(pod *corev1.Pod, o *corev1.PodLogOptions) *nodelink.Log {
	l := &nodelink.Log{
		Namespace: pod.Namespace, Pod: pod.Name, PodUid: string(pod.UID), Container: o.Container,
		Follow: o.Follow, Previous: o.Previous, Timestamps: o.Timestamps, TailLines: -1,
	}
	if *o.Stream != corev1.LogStreamAll {
		l.Stream = strings.ToLower(*o.Stream)
	}
	if o.TailLines != nil {
		l.TailLines = *o.TailLines
	}
	if o.LimitBytes != nil {
		l.LimitBytes = *o.LimitBytes
	}
	switch {
	case o.SinceTime != nil:
		l.SinceUnixNano = o.SinceTime.UnixNano()
	case o.SinceSeconds != nil:
		l.SinceUnixNano = time.Now().Add(-time.Duration(*o.SinceSeconds) * time.Second).UnixNano()
	}
	return l
}

// containerOf is the container that is meant: the one that is named, or the only one.
func containerOf(pod *corev1.Pod, name string) (string, error) {
	var names []string
	for _, c := range pod.Spec.InitContainers {
		names = append(names, c.Name)
	}
	for _, c := range pod.Spec.Containers {
		names = append(names, c.Name)
	}
	for _, c := range pod.Spec.EphemeralContainers {
		names = append(names, c.Name)
	}
	if name == "" {
		if len(pod.Spec.Containers) == 1 {
			return pod.Spec.Containers[0].Name, nil
		}
		return "", apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s, choose one of: %s", pod.Name, names))
	}
	for _, known := range names {
		if known == name {
			return name, nil
		}
	}
	return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, pod.Name))
}

// hasLog says why a container has written nothing that could be shown, as a kubelet words it.
func hasLog(pod *corev1.Pod, name string, previous bool) error {
	status := statusOfContainer(pod, name)
	if status == nil {
		return fmt.Errorf("container %q in pod %q is not available", name, pod.Name)
	}
	ran := func(t *corev1.ContainerStateTerminated) bool { return t != nil && t.ContainerID != "" }
	state, last := status.State, status.LastTerminationState
	switch {
	case previous:
		if !ran(last.Terminated) {
			return fmt.Errorf("previous terminated container %q in pod %q not found", name, pod.Name)
		}
	case state.Running != nil, ran(state.Terminated), ran(last.Terminated):
	case state.Terminated != nil, last.Terminated != nil:
		return fmt.Errorf("container %q in pod %q is terminated", name, pod.Name)
	case state.Waiting != nil:
		return fmt.Errorf("container %q in pod %q is waiting to start: %s", name, pod.Name, waitingFor(state.Waiting.Reason))
	default:
		return fmt.Errorf("container %q in pod %q is waiting to start - no logs yet", name, pod.Name)
	}
	return nil
}

func waitingFor(reason string) string {
	switch reason {
	case "ErrImagePull":
		return "image can't be pulled"
	case "ImagePullBackOff":
		return "trying and failing to pull image"
	}
	return reason
}

func statusOfContainer(pod *corev1.Pod, name string) *corev1.ContainerStatus {
	for _, statuses := range [][]corev1.ContainerStatus{
		pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses, pod.Status.EphemeralContainerStatuses} {
		for i := range statuses {
			if statuses[i].Name == name {
				return &statuses[i]
			}
		}
	}
	return nil
}

// logOptions reads corev1.PodLogOptions for the pod of that name from the query. Errors: 400, 422.
func logOptions(name string, query url.Values) (*corev1.PodLogOptions, error) {
	o := &corev1.PodLogOptions{
		Container: query.Get("container"), Follow: truthy(query["follow"]), Previous: truthy(query["previous"]),
		Timestamps: truthy(query["timestamps"]),
	}
	numbers := map[string]**int64{"sinceSeconds": &o.SinceSeconds, "tailLines": &o.TailLines, "limitBytes": &o.LimitBytes}
	for name, into := range numbers {
		text := query.Get(name)
		if text == "" {
			continue
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("%s: %v", name, err))
		}
		*into = &n
	}
	if text := query.Get("sinceTime"); text != "" {
		since, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return nil, apierrors.NewBadRequest("sinceTime: " + err.Error())
		}
		o.SinceTime = &metav1.Time{Time: since}
	}
	o.Stream = new(cmp.Or(query.Get("stream"), corev1.LogStreamAll))
	if errs := checkLogOptions(o); len(errs) > 0 {
		return nil, apierrors.NewInvalid(schema.GroupKind{Kind: "PodLogOptions"}, name, errs)
	}
	return o, nil
}

var logStreams = []string{corev1.LogStreamAll, corev1.LogStreamStderr, corev1.LogStreamStdout}

func checkLogOptions(o *corev1.PodLogOptions) (errs field.ErrorList) {
	if o.TailLines != nil && *o.TailLines < 0 {
		errs = append(errs, field.Invalid(field.NewPath("tailLines"), *o.TailLines, "must be greater than or equal to 0"))
	}
	if o.LimitBytes != nil && *o.LimitBytes < 1 {
		errs = append(errs, field.Invalid(field.NewPath("limitBytes"), *o.LimitBytes, "must be greater than 0"))
	}
	switch {
	case o.SinceSeconds != nil && o.SinceTime != nil:
		errs = append(errs, field.Forbidden(field.NewPath(""), "at most one of `sinceTime` or `sinceSeconds` may be specified"))
	case o.SinceSeconds != nil && *o.SinceSeconds < 1:
		errs = append(errs, field.Invalid(field.NewPath("sinceSeconds"), *o.SinceSeconds, "must be greater than 0"))
	}
	if !slices.Contains(logStreams, *o.Stream) {
		errs = append(errs, field.NotSupported(field.NewPath("stream"), *o.Stream, logStreams))
	}
	if *o.Stream != corev1.LogStreamAll && o.TailLines != nil {
		errs = append(errs, field.Forbidden(field.NewPath(""), "`tailLines` and specific `stream` are mutually exclusive for now"))
	}
	return errs
}
