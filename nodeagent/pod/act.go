package pod

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"wherry/nodeagent/runtime"
	"wherry/nodeagent/runtime/logfile"
)

// minimumGrace is what every container gets to end, also when there is no grace left.
const minimumGrace = 2 * time.Second

// act carries an action out and returns what is known then. have is a copy.
func (w *worker) act(ctx context.Context, p *corev1.Pod, have *Have, a Action) func(*Have) {
	switch a.Verb {
	case Prepare:
		return w.prepare(ctx, p, have)
	case Attach:
		return w.attach(ctx, p, have)
	case Refresh:
		return w.refresh(ctx, p, have)
	case Pull:
		return w.pull(ctx, p, find(p, a.Container()))
	case Start:
		return w.start(ctx, p, have, find(p, a.Container()))
	case Stop:
		return w.stop(ctx, p, have, a)
	case Teardown:
		return w.teardown(ctx, p, have)
	}
	panic("pod: no way to " + string(a.Verb))
}

func (w *worker) prepare(ctx context.Context, p *corev1.Pod, have *Have) func(*Have) {
	paths, err := w.Volumes.Prepare(ctx, here(p, have), w.Objects)
	if err != nil {
		return w.setupFailed(ctx, p, "FailedMount", err)
	}
	return func(h *Have) { h.prepared(paths) }
}

func (w *worker) attach(ctx context.Context, p *corev1.Pod, have *Have) func(*Have) {
	address, err := w.Network.Attach(ctx, Attachment{
		PodUID: string(p.UID), Namespace: p.Namespace, Name: p.Name,
		HostNetwork: p.Spec.HostNetwork, Address: have.formerAddress,
	})
	if err != nil {
		return w.setupFailed(ctx, p, "FailedCreatePodSandBox", fmt.Errorf("failed to create pod sandbox: %w", err))
	}
	return func(h *Have) { h.attached(address) }
}

// refresh keeps what volumes hold if it cannot be brought up to date: the next change tries again.
func (w *worker) refresh(ctx context.Context, p *corev1.Pod, have *Have) func(*Have) {
	if err := w.Volumes.Update(ctx, here(p, have), w.Objects); err != nil && ctx.Err() == nil {
		w.events.warning(p, "", "FailedMount", "%v", err)
	}
	return func(h *Have) { h.Stale = false }
}

// setupFailed tells about a failure, unless it is that nobody wants it any more.
func (w *worker) setupFailed(ctx context.Context, p *corev1.Pod, reason string, err error) func(*Have) {
	if ctx.Err() != nil {
		return func(*Have) {}
	}
	w.events.warning(p, "", reason, "%v", err)
	return func(h *Have) { h.setupFailed(time.Now(), reason, err) }
}

func (w *worker) pull(ctx context.Context, p *corev1.Pod, spec *corev1.Container) func(*Have) {
	policy := string(spec.ImagePullPolicy)
	if policy == "" {
		policy = string(corev1.PullIfNotPresent)
	}
	pulls := policy == string(corev1.PullAlways) || policy == string(corev1.PullIfNotPresent) && !w.Images.Present(ctx, spec.Image)
	if pulls {
		w.events.normal(p, spec.Name, "Pulling", "Pulling image %q", spec.Image)
	}
	begun := time.Now()
	image, err := w.Images.Ensure(ctx, spec.Image, policy, w.pullSecrets(p))
	if err != nil {
		return w.pullFailed(ctx, p, spec, err)
	}
	if pulls {
		w.events.normal(p, spec.Name, "Pulled", "Successfully pulled image %q in %v", spec.Image, time.Since(begun).Truncate(time.Millisecond))
	} else {
		w.events.normal(p, spec.Name, "Pulled", "Container image %q already present on machine", spec.Image)
	}
	return func(h *Have) {
		h.pulled(spec.Name, image)
		w.Images.InUse(string(p.UID), h.digests())
	}
}

func (w *worker) pullFailed(ctx context.Context, p *corev1.Pod, spec *corev1.Container, err error) func(*Have) {
	if ctx.Err() != nil {
		return func(*Have) {}
	}
	switch {
	case errors.Is(err, ErrImageNeverPull):
		err = fmt.Errorf("%w: container image %q", ErrImageNeverPull, spec.Image)
		w.events.warning(p, spec.Name, "ErrImageNeverPull", "Container image %q is not present with pull policy of Never", spec.Image)
	case errors.Is(err, ErrInvalidImageName):
		w.events.warning(p, spec.Name, "InspectFailed", "Failed to apply default image tag %q: %v", spec.Image, err)
	default:
		w.events.warning(p, spec.Name, "Failed", "Failed to pull image %q: %v", spec.Image, err)
	}
	return func(h *Have) {
		h.pullFailed(time.Now(), spec.Name, err)
		w.events.warning(p, spec.Name, "Failed", "Error: %s", h.Containers[spec.Name].Trouble.Reason)
	}
}

// pullSecrets are those of the pod's that are there.
func (w *worker) pullSecrets(p *corev1.Pod) [][]byte {
	var all [][]byte
	for _, ref := range p.Spec.ImagePullSecrets {
		s := w.Objects.Secret(p.Namespace, ref.Name)
		if s == nil {
			w.events.warning(p, "", "FailedToRetrieveImagePullSecret",
				"Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", ref.Name)
			continue
		}
		if data := s.Data[corev1.DockerConfigJsonKey]; data != nil {
			all = append(all, data)
		} else if data := s.Data[corev1.DockerConfigKey]; data != nil {
			all = append(all, fmt.Appendf(nil, `{"auths":%s}`, data)) // the older form is what is inside
		}
	}
	return all
}

func (w *worker) start(ctx context.Context, p *corev1.Pod, have *Have, spec *corev1.Container) func(*Have) {
	c := have.Containers[spec.Name]
	run, err := w.specs.make(p, have, spec)
	if err != nil {
		return w.startFailed(ctx, p, spec, reasonConfig, err)
	}
	driver, err := choose(w.Runtimes, p.Spec.RuntimeClassName, run.Image.Kind)
	if err != nil {
		return w.startFailed(ctx, p, spec, reasonCreate, err)
	}
	if err := w.forget(ctx, p, c, spec.Name); err != nil {
		return w.startFailed(ctx, p, spec, reasonCreate, err)
	}
	if err := driver.Start(ctx, run); err != nil {
		// Part of it may have been started.
		clean := context.WithoutCancel(ctx)
		err = errors.Join(err, driver.Stop(clean, run.ID, 0), driver.Remove(clean, run.ID))
		reason := reasonRun
		if errors.Is(err, runtime.ErrInvalid) {
			reason = reasonCreate
		}
		return w.startFailed(ctx, p, spec, reason, err)
	}
	w.log.Info("container started", "container", spec.Name, "attempt", run.ID.Attempt)
	w.events.normal(p, spec.Name, "Created", "Container created")
	w.events.normal(p, spec.Name, "Started", "Container started")
	w.tell(func(h *Have) { h.started(time.Now(), spec.Name, run.ID.Attempt, driver.Name(), run.Image) })
	w.observe(ctx, driver.Name())
	c.Driver, c.Attempt = driver.Name(), run.ID.Attempt
	return w.postStart(ctx, p, have, spec)
}

// forget removes what ended runs have left, but for the log of the last one.
func (w *worker) forget(ctx context.Context, p *corev1.Pod, c *Container, name string) error {
	if c.Phase != Exited {
		return nil
	}
	for _, d := range w.Runtimes {
		if d.Name() == c.Driver {
			if err := d.Remove(ctx, w.id(p, name, c.Attempt)); err != nil {
				return err
			}
		}
	}
	return logfile.Remove(w.specs.folders.Log(w.id(p, name, c.Attempt-1)))
}

func (w *worker) startFailed(ctx context.Context, p *corev1.Pod, spec *corev1.Container, reason string, err error) func(*Have) {
	if ctx.Err() != nil {
		return func(*Have) {}
	}
	w.events.warning(p, spec.Name, "Failed", "Error: %v", err)
	return func(h *Have) { h.startFailed(time.Now(), spec.Name, reason, err) }
}

func (w *worker) postStart(ctx context.Context, p *corev1.Pod, have *Have, spec *corev1.Container) func(*Have) {
	hook := postStart(spec)
	if hook == nil {
		return func(*Have) {}
	}
	if err := w.hook(ctx, p, have, spec, hook); err != nil && ctx.Err() == nil {
		w.log.Warn("postStart hook failed", "container", spec.Name, "err", err)
		w.events.warning(p, spec.Name, "FailedPostStartHook", "PostStartHook failed")
		return func(h *Have) { h.Containers[spec.Name].unhealthy(time.Now(), hookFailed, grace(p)) }
	}
	return func(*Have) {}
}

// stop stops containers side by side.
func (w *worker) stop(ctx context.Context, p *corev1.Pod, have *Have, a Action) func(*Have) {
	var all sync.WaitGroup
	for _, name := range a.Containers {
		all.Go(func() { w.stopOne(ctx, p, have, name, a) })
	}
	all.Wait()
	for _, name := range a.Containers {
		w.observe(ctx, have.Containers[name].Driver)
	}
	return func(*Have) {}
}

func (w *worker) stopOne(ctx context.Context, p *corev1.Pod, have *Have, name string, a Action) {
	spec, c := find(p, name), have.Containers[name]
	if !c.Stopping {
		w.events.normal(p, name, "Killing", "%s", killing(p, spec, have, a))
		if hook := preStop(spec); hook != nil && time.Now().Before(a.Deadline) {
			hooked, cancel := context.WithDeadline(ctx, a.Deadline)
			if err := w.hook(hooked, p, have, spec, hook); err != nil && ctx.Err() == nil {
				w.log.Warn("preStop hook failed", "container", name, "err", err)
				w.events.warning(p, name, "FailedPreStopHook", "PreStopHook failed")
			}
			cancel()
		}
	}
	for _, d := range w.Runtimes {
		if d.Name() != c.Driver {
			continue
		}
		left := max(time.Until(a.Deadline), minimumGrace)
		if err := d.Stop(ctx, w.id(p, name, c.Attempt), left); err != nil && ctx.Err() == nil {
			w.log.Warn("cannot stop container", "container", name, "err", err)
			w.events.warning(p, name, "FailedKillPod", "error killing pod: %v", err)
		}
	}
}

// killing says why a container is stopped.
func killing(p *corev1.Pod, spec *corev1.Container, have *Have, a Action) string {
	switch {
	case have.Ending != nil:
		return "Stopping container " + spec.Name
	case a.Why == hookFailed, !restarts(p, spec, 137):
		return a.Why
	}
	return a.Why + ", will be restarted"
}

// hookFailed is why a container is stopped whose postStart hook failed.
const hookFailed = "FailedPostStartHook"

func (w *worker) teardown(ctx context.Context, p *corev1.Pod, have *Have) func(*Have) {
	for name, c := range have.Containers {
		for _, d := range w.Runtimes {
			if c.Phase == Absent || d.Name() != c.Driver {
				continue
			}
			if err := d.Remove(ctx, w.id(p, name, c.Attempt)); err != nil {
				return w.setupFailed(ctx, p, "FailedKillPod", fmt.Errorf("error killing pod: %w", err))
			}
		}
	}
	w.Network.Detach(string(p.UID))
	if err := w.Volumes.Remove(ctx, string(p.UID)); err != nil {
		return w.setupFailed(ctx, p, "FailedUnmount", err)
	}
	w.Images.InUse(string(p.UID), nil)
	return func(h *Have) { h.torn() }
}
