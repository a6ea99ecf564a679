package pod

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Verb is what is to be done.
type Verb string

const (
	Wait     Verb = "wait"     // nothing, until something happens or it is Until
	Prepare  Verb = "prepare"  // the volumes
	Attach   Verb = "attach"   // get an address
	Refresh  Verb = "refresh"  // what volumes were made of may have changed
	Pull     Verb = "pull"     // the image of a container
	Start    Verb = "start"    // a container, with its postStart hook
	BackOff  Verb = "back off" // say that a container is not tried again yet
	Stop     Verb = "stop"     // containers, with their preStop hooks
	End      Verb = "end"      // the pod as a whole: note that it ends
	Teardown Verb = "tear down"
	Finish   Verb = "finish" // a deleted pod: nothing is left, say so
)

// Action is one step, and why.
type Action struct {
	Verb       Verb
	Containers []string // Pull, Start, BackOff: one; Stop: those to be stopped side by side
	Why        string
	Until      time.Time // Wait: when to ask again; zero: when something happens
	// Deadline of a Stop: when the grace is over.
	Deadline time.Time
	// Of an End: the grace from now on, what makes the pod Failed, and the deletion that it answers.
	Grace           time.Duration
	Reason, Message string
	Deletion        *int64
}

// Container is the name of the one container that the action is about.
func (a Action) Container() string {
	if len(a.Containers) == 0 {
		return ""
	}
	return a.Containers[0]
}

// Step decides what is next for a pod: want is how it should be, have what is known of it here. It reads nothing else
// and changes nothing.
func Step(now time.Time, want *corev1.Pod, have *Have) Action {
	if a, ok := stepEnd(now, want, have); ok {
		return a
	}
	if have.Ending != nil {
		return stepDown(now, want, have)
	}
	if have.Refused != "" {
		return Action{Verb: Wait, Why: have.Refused}
	}
	a := stepUp(now, want, have)
	if a.Verb == Wait {
		a.Until = earliest(a.Until, activeDeadline(want, have))
	}
	return a
}

// stepEnd notices that the pod ends, or has to end sooner.
func stepEnd(now time.Time, want *corev1.Pod, have *Have) (Action, bool) {
	e := have.Ending
	if d := want.DeletionGracePeriodSeconds; want.DeletionTimestamp != nil {
		seconds := int64(grace(want) / time.Second)
		if d != nil {
			seconds = *d
		}
		if e != nil && e.Deletion != nil && *e.Deletion <= seconds {
			return Action{}, false
		}
		return Action{Verb: End, Why: "the pod is being deleted", Grace: time.Duration(seconds) * time.Second, Deletion: &seconds}, true
	}
	if e != nil {
		return Action{}, false
	}
	if until := activeDeadline(want, have); !until.IsZero() && !now.Before(until) {
		const message = "Pod was active on the node longer than the specified deadline"
		return Action{Verb: End, Why: "activeDeadlineSeconds are over", Grace: grace(want), Reason: "DeadlineExceeded", Message: message}, true
	}
	if why := complete(want, have); why != "" {
		return Action{Verb: End, Why: why, Grace: grace(want)}, true
	}
	return Action{}, false
}

// activeDeadline is when the pod has run long enough; zero: never.
func activeDeadline(want *corev1.Pod, have *Have) time.Time {
	if s := want.Spec.ActiveDeadlineSeconds; s != nil {
		return have.Since.Add(time.Duration(*s) * time.Second)
	}
	return time.Time{}
}

// complete says why no container will be started any more; "" if one may be, or runs.
func complete(want *corev1.Pod, have *Have) string {
	for i := range want.Spec.InitContainers {
		spec := &want.Spec.InitContainers[i]
		c := have.Containers[spec.Name]
		if !isSidecar(spec) && c.Phase == Exited && c.Run.ExitCode != 0 && !restarts(want, spec, c.Run.ExitCode) {
			return fmt.Sprintf("init container %s failed", spec.Name)
		}
	}
	for i := range want.Spec.Containers {
		spec := &want.Spec.Containers[i]
		c := have.Containers[spec.Name]
		if c.Phase != Exited || restarts(want, spec, c.Run.ExitCode) {
			if p := have.Reported.Phase; p == corev1.PodFailed || p == corev1.PodSucceeded {
				return "the pod has ended before"
			}
			return ""
		}
	}
	return "all containers have ended"
}

// stepDown ends what runs: the containers together, then the sidecars, last one first; then it cleans up.
func stepDown(now time.Time, want *corev1.Pod, have *Have) Action {
	var names []string
	var sidecar string
	for spec := range containers(want) {
		switch {
		case !have.Containers[spec.Name].alive():
		case isInit(want, spec.Name) && isSidecar(spec):
			sidecar = spec.Name
		default:
			names = append(names, spec.Name)
		}
	}
	if names == nil && sidecar != "" {
		names = []string{sidecar}
	}
	switch {
	case names != nil:
		return Action{Verb: Stop, Containers: names, Deadline: have.Ending.Deadline, Why: have.Ending.Why}
	case !have.Torn && now.Before(have.Setup.Retry):
		return Action{Verb: Wait, Until: have.Setup.Retry, Why: have.Setup.Message}
	case !have.Torn:
		return Action{Verb: Teardown, Why: have.Ending.Why}
	case want.DeletionTimestamp != nil:
		return Action{Verb: Finish, Why: "nothing of the pod is left"}
	}
	return Action{Verb: Wait, Why: "the pod has ended"}
}

// stepUp brings the pod up and keeps it there.
func stepUp(now time.Time, want *corev1.Pod, have *Have) Action {
	switch {
	case (have.Volumes == nil || have.Address == "") && now.Before(have.Setup.Retry):
		return Action{Verb: Wait, Until: have.Setup.Retry, Why: have.Setup.Message}
	case have.Volumes == nil:
		return Action{Verb: Prepare, Why: "the volumes are not prepared"}
	case have.Address == "":
		return Action{Verb: Attach, Why: "the pod has no address"}
	case have.Stale:
		return Action{Verb: Refresh, Why: "the pod or an object that it names has changed"}
	}
	idle := Action{Verb: Wait}
	for i := range want.Spec.InitContainers {
		spec := &want.Spec.InitContainers[i]
		a, done := stepInit(now, want, have, spec)
		if a.Verb != Wait || !done {
			a.Until = earliest(a.Until, idle.Until)
			return a
		}
		idle.Until = earliest(idle.Until, a.Until)
	}
	for i := range want.Spec.Containers {
		a := stepContainer(now, want, have, &want.Spec.Containers[i])
		if a.Verb != Wait {
			return a
		}
		idle.Until = earliest(idle.Until, a.Until)
		if idle.Why == "" {
			idle.Why = a.Why
		}
	}
	if idle.Why == "" {
		idle.Why = "everything is as it should be"
	}
	return idle
}

// stepInit sees to one init container. done says that what comes after it may go on.
func stepInit(now time.Time, want *corev1.Pod, have *Have, spec *corev1.Container) (a Action, done bool) {
	c := have.Containers[spec.Name]
	if !isSidecar(spec) && (initialized(want, have) || c.Phase == Exited && c.Run.ExitCode == 0) {
		return Action{Verb: Wait}, true
	}
	a = stepContainer(now, want, have, spec)
	if isSidecar(spec) && (c.Started || initialized(want, have)) {
		return a, true
	}
	if a.Verb == Wait && a.Why == "" {
		a.Why = fmt.Sprintf("init container %s has not finished", spec.Name)
	}
	return a, false
}

// initialized says that the pod's init containers are behind it, for good.
func initialized(want *corev1.Pod, have *Have) bool {
	for i := range want.Spec.Containers {
		if have.Containers[want.Spec.Containers[i].Name].Phase != Absent {
			return true
		}
	}
	return false
}

// stepContainer sees to one container whose turn it is.
func stepContainer(now time.Time, want *corev1.Pod, have *Have, spec *corev1.Container) Action {
	c := have.Containers[spec.Name]
	one := []string{spec.Name}
	switch {
	case c.alive() && c.Unhealthy != "":
		return Action{Verb: Stop, Containers: one, Deadline: c.UnhealthyAt.Add(c.UnhealthyGrace), Why: c.Unhealthy}
	case c.alive() && c.Ref != "" && c.Ref != spec.Image:
		return Action{Verb: Stop, Containers: one, Deadline: now.Add(grace(want)), Why: "Container " + spec.Name + " definition changed"}
	case c.alive(), c.Phase == Exited && !restarts(want, spec, c.Run.ExitCode):
		return Action{Verb: Wait}
	case now.Before(c.Trouble.Retry):
		return stepBackOff(now, c, one)
	case c.Image == nil:
		return Action{Verb: Pull, Containers: one, Why: "image " + spec.Image + " is needed"}
	case c.Phase == Exited:
		return Action{Verb: Start, Containers: one, Why: fmt.Sprintf("it exited with code %d", c.Run.ExitCode)}
	}
	return Action{Verb: Start, Containers: one, Why: "it has not run yet"}
}

// errorShown is how long a failed pull is shown as such before it is shown as a back-off.
const errorShown = time.Second

// stepBackOff waits, and says so once.
func stepBackOff(now time.Time, c *Container, one []string) Action {
	t := c.Trouble
	switch {
	case t.Reason == "":
		return Action{Verb: BackOff, Containers: one, Why: fmt.Sprintf("it exited with code %d", c.Run.ExitCode)}
	case t.Reason == reasonPull && !now.Before(t.At.Add(errorShown)):
		return Action{Verb: BackOff, Containers: one, Why: t.Message}
	case t.Reason == reasonPull:
		return Action{Verb: Wait, Until: t.At.Add(errorShown), Why: t.Message}
	}
	return Action{Verb: Wait, Until: t.Retry, Why: t.Message}
}

// earliest of two times, where zero is never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
