package pod

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"

	"wherry/nodeagent/pod/probe"
)

// ProbeKind is one of the three.
type ProbeKind string

const (
	Startup   ProbeKind = "startup"
	Liveness  ProbeKind = "liveness"
	Readiness ProbeKind = "readiness"
)

// title begins a message.
func (k ProbeKind) title() string { return string(k[0]-'a'+'A') + string(k[1:]) }

type probeKey struct {
	container string
	kind      ProbeKind
}

// probing is a probe that goes on, of one run.
type probing struct {
	attempt int
	cancel  context.CancelFunc
}

// watch starts the probes that are due and ends the others.
func (w *worker) watch(ctx context.Context, p *corev1.Pod) {
	due := w.due(p)
	for key, running := range w.probes {
		if due[key] == nil || running.attempt != w.have.Containers[key.container].Attempt {
			running.cancel()
			delete(w.probes, key)
		}
	}
	for key, spec := range due {
		if w.probes[key] == nil {
			w.startProbe(ctx, p, key, spec)
		}
	}
}

// due are the probes of running containers: first startup, then the others. A pod that ends is only asked whether it
// is ready.
func (w *worker) due(p *corev1.Pod) map[probeKey]*corev1.Probe {
	due := map[probeKey]*corev1.Probe{}
	add := func(name string, kind ProbeKind, spec *corev1.Probe) {
		if spec != nil {
			due[probeKey{name, kind}] = spec
		}
	}
	for spec := range containers(p) {
		c := w.have.Containers[spec.Name]
		if c.Phase != Running || c.Unhealthy != "" {
			continue
		}
		if !c.Started && w.have.Ending == nil {
			add(spec.Name, Startup, spec.StartupProbe)
		}
		if c.Started {
			add(spec.Name, Readiness, spec.ReadinessProbe)
		}
		if c.Started && w.have.Ending == nil {
			add(spec.Name, Liveness, spec.LivenessProbe)
		}
	}
	return due
}

func (w *worker) startProbe(ctx context.Context, p *corev1.Pod, key probeKey, spec *corev1.Probe) {
	c := w.have.Containers[key.container]
	ctx, cancel := context.WithCancel(ctx)
	w.probes[key] = &probing{attempt: c.Attempt, cancel: cancel}
	container := find(p, key.container)
	if spec.Exec != nil {
		spec = spec.DeepCopy()
		spec.Exec.Command = expandStatic(container, spec.Exec.Command)
	}
	pr := &prober{
		probeKey: key, spec: spec, pod: p, events: w.events,
		target: w.target(p, w.have, container),
		begun:  c.Run.Started,
		tally:  probe.Tally{Success: spec.SuccessThreshold, Failure: spec.FailureThreshold},
	}
	attempt := c.Attempt
	pr.verdict = func(ok bool) {
		w.tell(func(h *Have) {
			if h.Containers[key.container].Attempt == attempt {
				h.probed(time.Now(), key.container, key.kind, ok, pr.grace())
			}
		})
	}
	w.actors.Go(func() {
		defer cancel()
		pr.run(ctx)
	})
}

// prober asks one run of a container again and again.
type prober struct {
	probeKey
	spec    *corev1.Probe
	pod     *corev1.Pod
	target  probe.Target
	events  *recorder
	begun   time.Time
	tally   probe.Tally
	verdict func(ok bool)
}

// run ends with the context, or when a startup or liveness probe has decided.
func (pr *prober) run(ctx context.Context) {
	wait := time.Until(pr.begun.Add(seconds(pr.spec.InitialDelaySeconds, 0)))
	said, last := false, false
	for {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		ok, known := pr.ask(ctx)
		if ctx.Err() != nil {
			return
		}
		if known && pr.tally.Count(ok) && !(said && last == ok) {
			pr.verdict(ok)
			said, last = true, ok
			if pr.kind == Startup || pr.kind == Liveness && !ok {
				return
			}
		}
		wait = seconds(pr.spec.PeriodSeconds, 10)
	}
}

// ask asks once. What is not known does not count.
func (pr *prober) ask(ctx context.Context) (ok, known bool) {
	limited, cancel := context.WithTimeout(ctx, seconds(pr.spec.TimeoutSeconds, 1))
	defer cancel()
	err := probe.Check(limited, pr.target, pr.spec.ProbeHandler)
	switch {
	case err == nil || ctx.Err() != nil:
	case errors.Is(err, probe.ErrUnknown):
		pr.events.warning(pr.pod, pr.container, "Unhealthy", "%s probe errored and resulted in unknown state: %v", pr.kind.title(), err)
		return false, false
	default:
		pr.events.warning(pr.pod, pr.container, "Unhealthy", "%s probe failed: %v", pr.kind.title(), err)
	}
	return err == nil, true
}

// grace is how long the container has to end if this probe fails.
func (pr *prober) grace() time.Duration {
	if s := pr.spec.TerminationGracePeriodSeconds; s != nil {
		return time.Duration(*s) * time.Second
	}
	return grace(pr.pod)
}

func seconds(n int32, otherwise time.Duration) time.Duration {
	if n <= 0 {
		return otherwise * time.Second
	}
	return time.Duration(n) * time.Second
}
