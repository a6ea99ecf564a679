package pod

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"wherry/nodeagent/runtime"
)

// Have is what is known of a pod on this node. Its worker alone changes it, by the methods below; Step and Status read it.
type Have struct {
	// Since is when this node took the pod.
	Since time.Time
	// Refused says why the pod can never run here; "" if it can.
	Refused string
	// Volumes has the host path of each volume; nil: they are not prepared. Stale: what they are made of may have changed.
	Volumes map[string]string
	Stale   bool
	// Address of the pod; "": it is not attached. formerAddress is what it had in an earlier process.
	Address, formerAddress string
	// HostAddress is the node's.
	HostAddress string
	// Setup is what went wrong with volumes and address.
	Setup Trouble
	// Containers by name, all of the spec's.
	Containers map[string]*Container
	// Ending is set once the pod ends as a whole.
	Ending *Ending
	// Torn: volumes and address are given back. The containers have all exited.
	Torn bool
	// Reported is the newest status, for what it says of earlier times.
	Reported corev1.PodStatus
}

// Ending of a pod: deleted, failed, or because its containers are done.
type Ending struct {
	Why      string
	Since    time.Time
	Deadline time.Time // when the grace is over
	// Reason and Message make the pod Failed; "": its containers tell how it ended.
	Reason, Message string
	// Deletion is the grace, in seconds, of the deletion that this ending already knows; nil: it was not deleted.
	Deletion *int64
}

// Trouble is a failure and when to try again. The zero value: none.
type Trouble struct {
	Reason, Message string
	At, Retry       time.Time
	Backoff         Backoff
}

func (t *Trouble) clear() { *t = Trouble{Backoff: t.Backoff} }

// Phase of a container, in order: a later attempt begins again at Starting.
type Phase int

const (
	Absent   Phase = iota // never started
	Starting              // handed to the driver, not yet observed
	Running
	Exited
)

// Container is what is known of one container. Attempt is -1 while it is Absent, else that of Run. Restarts is Attempt
// or 0: a number is used by one run only.
type Container struct {
	Phase   Phase
	Attempt int
	Run     runtime.Status  // the newest run
	Before  *runtime.Status // the one before
	// Image is set when the next start can use it.
	Image *runtime.Image
	// Ref and ImageID are the image of the newest run, as the pod said and by content.
	Ref, ImageID string
	// Driver is the name of the one that runs it.
	Driver string
	// Stopping: it was told that it has to end, and its preStop hook was begun.
	Stopping bool
	// Trouble is why it is not running (ErrImagePull, CrashLoopBackOff, ...).
	Trouble Trouble
	Crash   Backoff
	// Started and Ready are what startup and readiness probes say.
	Started, Ready bool
	// Unhealthy says why it has to be stopped, since when, and with what grace; "" if not.
	Unhealthy      string
	UnhealthyAt    time.Time
	UnhealthyGrace time.Duration
}

// Reasons of waiting containers.
const (
	reasonCreating     = "ContainerCreating"
	reasonInitializing = "PodInitializing"
	reasonCrashLoop    = "CrashLoopBackOff"
	reasonPull         = "ErrImagePull"
	reasonPullBackOff  = "ImagePullBackOff"
	reasonNeverPull    = "ErrImageNeverPull"
	reasonInvalidImage = "InvalidImageName"
	reasonConfig       = "CreateContainerConfigError"
	reasonCreate       = "CreateContainerError"
	reasonRun          = "RunContainerError"
)

// newHave knows nothing of the pod but its containers' names.
func newHave(now time.Time, p *corev1.Pod) *Have {
	h := &Have{Since: now, Containers: map[string]*Container{}, Refused: unsupported(p)}
	for c := range containers(p) {
		h.Containers[c.Name] = &Container{Attempt: -1}
	}
	return h
}

func (h *Have) prepared(paths map[string]string) {
	if paths == nil {
		paths = map[string]string{}
	}
	h.Volumes, h.Stale = paths, false
	h.Setup.clear()
}

func (h *Have) attached(address string) {
	h.Address = address
	h.Setup.clear()
}

// address of the pod; until it is attached again that of the process before.
func (h *Have) address() string { return cmp.Or(h.Address, h.formerAddress) }

// setupFailed notes that volumes or address could not be had.
func (h *Have) setupFailed(now time.Time, reason string, err error) {
	t := &h.Setup
	wait := t.Backoff.next(now, setupDelay, setupDelayMax)
	t.Reason, t.Message, t.At, t.Retry = reason, err.Error(), now, now.Add(wait)
}

func (h *Have) pulled(name string, image runtime.Image) {
	c := h.Containers[name]
	c.Image = &image
	c.Trouble = Trouble{}
}

func (h *Have) pullFailed(now time.Time, name string, err error) {
	t := &h.Containers[name].Trouble
	t.Reason = reasonPull
	switch {
	case errors.Is(err, ErrImageNeverPull):
		t.Reason = reasonNeverPull
	case errors.Is(err, ErrInvalidImageName):
		t.Reason = reasonInvalidImage
	}
	wait := t.Backoff.next(now, pullDelay, pullDelayMax)
	t.Message, t.At, t.Retry = err.Error(), now, now.Add(wait)
}

// backedOff notes that the container waits before the next attempt, and says so.
func (h *Have) backedOff(p *corev1.Pod, name string) {
	c := h.Containers[name]
	t := &c.Trouble
	if t.Reason == reasonPull {
		t.Message = fmt.Sprintf("Back-off pulling image %q: %s: %s", imageOf(p, name), reasonPull, t.Message)
		t.Reason = reasonPullBackOff
		return
	}
	t.Reason = reasonCrashLoop
	t.Message = fmt.Sprintf("back-off %s restarting failed container=%s pod=%s", t.Retry.Sub(c.Run.Finished), name, format(p))
}

// next is the number of the container's next run.
func (c *Container) next() int { return c.Attempt + 1 }

// imageID names an image by its content: "registry/name@sha256:...".
func imageID(i runtime.Image) string {
	name, _, _ := strings.Cut(i.Ref, "@")
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		name = name[:colon]
	}
	if i.Digest == "" {
		return i.Ref
	}
	return name + "@" + i.Digest
}

// started notes that a run was handed to the driver. The driver may have been observed before that.
func (h *Have) started(now time.Time, name string, attempt int, driver string, image runtime.Image) {
	c := h.Containers[name]
	if attempt > c.Attempt {
		c.begin(attempt)
		c.Run.Started = now
	}
	c.Ref, c.ImageID, c.Driver = image.Ref, imageID(image), driver
}

// begin turns to a new run.
func (c *Container) begin(attempt int) {
	if c.Phase == Exited {
		before := c.Run
		c.Before = &before
	}
	c.Attempt, c.Phase, c.Run = attempt, Starting, runtime.Status{State: runtime.Running}
	c.Image, c.Trouble = nil, Trouble{}
	c.Started, c.Ready, c.Stopping, c.Unhealthy = false, false, false, ""
}

// startFailed notes that the driver did not take the next run.
func (h *Have) startFailed(now time.Time, name, reason string, err error) {
	c := h.Containers[name]
	wait := configDelay
	if reason != reasonConfig {
		wait = c.Crash.next(now, crashDelay, crashDelayMax)
	}
	c.Trouble = Trouble{Reason: reason, Message: err.Error(), At: now, Retry: now.Add(wait)}
}

// observed notes what a driver says. Earlier runs are no news.
func (h *Have) observed(driver string, s runtime.Status) {
	c := h.Containers[s.ID.Container]
	if c == nil || s.ID.Attempt < c.Attempt || s.ID.Attempt == c.Attempt && c.Phase == Exited {
		return
	}
	if s.ID.Attempt > c.Attempt {
		c.begin(s.ID.Attempt)
	}
	c.Run, c.Driver = s, driver
	if s.State == runtime.Running {
		c.Phase = Running
		return
	}
	c.exited()
}

// lost notes that no driver knows a run that should be there.
func (h *Have) lost(now time.Time, id runtime.ID) {
	c := h.Containers[id.Container]
	if c == nil || !c.alive() || c.Attempt != id.Attempt {
		return
	}
	c.Run.State, c.Run.Finished, c.Run.ExitCode = runtime.Exited, now, 137
	c.Run.Reason = "ContainerStatusUnknown"
	c.Run.Message = "The container could not be located when the agent looked for it"
	c.exited()
}

// exited sets when the container may be started again: at once the first time, later and later if it keeps ending.
func (c *Container) exited() {
	c.Phase = Exited
	c.Started, c.Ready, c.Unhealthy = false, false, ""
	fresh := c.Crash.Delay == 0 || c.Run.Finished.Sub(c.Crash.Last) > 2*crashDelayMax
	wait := c.Crash.Delay
	if c.Crash.next(c.Run.Finished, crashDelay, crashDelayMax); fresh {
		wait = 0
	}
	c.Trouble = Trouble{Retry: c.Run.Finished.Add(wait)}
}

// settle gives containers without probes the verdicts that these would have given.
func (h *Have) settle(p *corev1.Pod) {
	for spec := range containers(p) {
		c := h.Containers[spec.Name]
		if c.Phase != Running {
			continue
		}
		if spec.StartupProbe == nil {
			c.Started = true
		}
		if spec.ReadinessProbe == nil {
			c.Ready = true
		}
	}
}

// probed notes the verdict of a probe on the newest run.
func (h *Have) probed(now time.Time, name string, kind ProbeKind, ok bool, grace time.Duration) {
	c := h.Containers[name]
	switch {
	case kind == Readiness:
		c.Ready = ok
	case kind == Startup && ok:
		c.Started = true
	case !ok:
		c.unhealthy(now, fmt.Sprintf("Container %s failed %s probe", name, kind), grace)
	}
}

func (c *Container) unhealthy(now time.Time, why string, grace time.Duration) {
	if c.alive() {
		c.Unhealthy, c.UnhealthyAt, c.UnhealthyGrace = why, now, grace
	}
}

// objectsChanged lets what failed for want of an object be tried again.
func (h *Have) objectsChanged() {
	h.Setup.Retry = time.Time{}
	h.Stale = h.Volumes != nil
	for _, c := range h.Containers {
		if c.Trouble.Reason == reasonConfig {
			c.Trouble.Retry = time.Time{}
		}
	}
}

// ended notes that the pod ends as a whole, or that it has to end sooner.
func (h *Have) ended(now time.Time, a Action) {
	deadline := now.Add(a.Grace)
	if e := h.Ending; e != nil {
		e.Deletion = a.Deletion
		if deadline.Before(e.Deadline) {
			e.Deadline = deadline
		}
		return
	}
	h.Ending = &Ending{Why: a.Why, Since: now, Deadline: deadline, Reason: a.Reason, Message: a.Message, Deletion: a.Deletion}
}

// torn notes that volumes and address are given back.
func (h *Have) torn() {
	h.Torn = true
	h.Volumes = nil
}

// digests of the images that the pod uses, or is about to.
func (h *Have) digests() []string {
	var all []string
	for _, c := range h.Containers {
		if c.Image != nil {
			all = append(all, c.Image.Digest)
		}
		if _, digest, ok := strings.Cut(c.ImageID, "@"); ok {
			all = append(all, digest)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// clone is for who carries an action out while the worker goes on.
func (h *Have) clone() *Have {
	all := make(map[string]*Container, len(h.Containers))
	for name, c := range h.Containers {
		copied := *c
		all[name] = &copied
	}
	out := *h
	out.Containers = all
	return &out
}

func (c *Container) alive() bool { return c.Phase == Starting || c.Phase == Running }
