package pod

import (
	"cmp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/nodeagent/runtime"
)

// Status is what the control plane sees of a pod, as a kubelet would write it. Times that tell when something changed
// are taken over from have.Reported where nothing changed.
func Status(now time.Time, want *corev1.Pod, have *Have) corev1.PodStatus {
	s := corev1.PodStatus{
		ObservedGeneration: want.Generation,
		QOSClass:           want.Status.QOSClass,
		NominatedNodeName:  want.Status.NominatedNodeName,
		StartTime:          &metav1.Time{Time: have.Since},
	}
	if have.HostAddress != "" {
		s.HostIP = have.HostAddress
		s.HostIPs = []corev1.HostIP{{IP: have.HostAddress}}
	}
	if ip := have.address(); ip != "" {
		s.PodIP = ip
		s.PodIPs = []corev1.PodIP{{IP: ip}}
	}
	for i := range want.Spec.InitContainers {
		s.InitContainerStatuses = append(s.InitContainerStatuses, containerStatus(want, have, &want.Spec.InitContainers[i]))
	}
	for i := range want.Spec.Containers {
		s.ContainerStatuses = append(s.ContainerStatuses, containerStatus(want, have, &want.Spec.Containers[i]))
	}
	slices.SortFunc(s.ContainerStatuses, func(a, b corev1.ContainerStatus) int { return cmp.Compare(a.Name, b.Name) })
	s.Phase = phase(want, have)
	if e := have.Ending; e != nil && e.Reason != "" {
		s.Phase, s.Reason, s.Message = corev1.PodFailed, e.Reason, e.Message
	}
	if old := have.Reported; old.Phase == corev1.PodFailed || old.Phase == corev1.PodSucceeded {
		s.Phase, s.Reason, s.Message = old.Phase, old.Reason, old.Message
	}
	s.Conditions = conditions(now, want, have, &s)
	return s
}

func containerStatus(want *corev1.Pod, have *Have, spec *corev1.Container) corev1.ContainerStatus {
	c := have.Containers[spec.Name]
	started := c.Phase == Running && c.Started
	s := corev1.ContainerStatus{
		Name:         spec.Name,
		Image:        cmp.Or(c.Ref, spec.Image),
		ImageID:      c.ImageID,
		RestartCount: int32(max(0, c.Attempt)),
		Started:      &started,
		Ready:        started && c.Ready,
	}
	if isInit(want, spec.Name) && !isSidecar(spec) {
		s.Ready = c.Phase == Exited && c.Run.ExitCode == 0
	}
	if c.Before != nil {
		s.LastTerminationState.Terminated = terminated(*c.Before)
	}
	switch c.Phase {
	case Running:
		s.ContainerID = c.Run.ContainerID
		s.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(c.Run.Started)}
	case Exited:
		s.ContainerID = c.Run.ContainerID
		if c.Trouble.Reason == "" {
			s.State.Terminated = terminated(c.Run)
			break
		}
		s.LastTerminationState.Terminated = terminated(c.Run)
		s.State.Waiting = waiting(want, have, c)
	default:
		s.State.Waiting = waiting(want, have, c)
	}
	return s
}

func waiting(want *corev1.Pod, have *Have, c *Container) *corev1.ContainerStateWaiting {
	switch {
	case have.Refused != "":
		return &corev1.ContainerStateWaiting{Reason: reasonConfig, Message: have.Refused}
	case c.Trouble.Reason != "":
		return &corev1.ContainerStateWaiting{Reason: c.Trouble.Reason, Message: c.Trouble.Message}
	case len(want.Spec.InitContainers) > 0 && !initialized(want, have):
		return &corev1.ContainerStateWaiting{Reason: reasonInitializing}
	}
	return &corev1.ContainerStateWaiting{Reason: reasonCreating}
}

func terminated(s runtime.Status) *corev1.ContainerStateTerminated {
	return &corev1.ContainerStateTerminated{
		ExitCode:    int32(s.ExitCode),
		Reason:      s.Reason,
		Message:     s.Message,
		StartedAt:   metav1.NewTime(s.Started),
		FinishedAt:  metav1.NewTime(s.Finished),
		ContainerID: s.ContainerID,
	}
}

// phase sums the containers up.
func phase(want *corev1.Pod, have *Have) corev1.PodPhase {
	n := count(want, have)
	over := have.Ending != nil && n.running == 0
	switch {
	case n.initFailed:
		return corev1.PodFailed
	case n.initPending, n.waiting > 0:
		return corev1.PodPending
	case n.running > 0:
		return corev1.PodRunning
	case n.stopped == 0:
		return corev1.PodPending
	case n.stopped == n.succeeded && (over || n.restarting == 0):
		return corev1.PodSucceeded
	case over, n.restarting == 0:
		return corev1.PodFailed
	}
	return corev1.PodRunning
}

// tally counts containers that make the phase. Sidecars count as running or waiting, never as stopped.
type tally struct {
	waiting, running, stopped, succeeded, restarting int
	initPending, initFailed                          bool
}

func count(want *corev1.Pod, have *Have) tally {
	var n tally
	up := initialized(want, have)
	for i := range want.Spec.InitContainers {
		spec := &want.Spec.InitContainers[i]
		c := have.Containers[spec.Name]
		switch {
		case isSidecar(spec) && c.alive():
			n.running++
			n.initPending = n.initPending || !c.Started && !up
		case isSidecar(spec):
			n.initPending = n.initPending || c.Phase == Absent && !up
		case c.Phase == Exited && c.Run.ExitCode != 0:
			n.initFailed = n.initFailed || !restarts(want, spec, c.Run.ExitCode)
			n.initPending = n.initPending || !n.initFailed
		case c.Phase != Exited:
			n.initPending = n.initPending || !up
		}
	}
	for i := range want.Spec.Containers {
		spec := &want.Spec.Containers[i]
		c := have.Containers[spec.Name]
		switch {
		case c.Phase == Absent, c.Phase == Starting && c.Attempt == 0:
			n.waiting++
		case c.alive():
			n.running++
		default:
			n.stopped++
			if c.Run.ExitCode == 0 {
				n.succeeded++
			}
			if restarts(want, spec, c.Run.ExitCode) {
				n.restarting++
			}
		}
	}
	return n
}

// conditions are the pod's: those of others as they are, and a kubelet's own.
func conditions(now time.Time, want *corev1.Pod, have *Have, s *corev1.PodStatus) []corev1.PodCondition {
	var all []corev1.PodCondition
	for _, c := range want.Status.Conditions {
		if !ownConditions[c.Type] {
			all = append(all, c)
		}
	}
	own := []corev1.PodCondition{
		{Type: corev1.PodReadyToStartContainers, Status: truth(have.address() != "" && !have.Torn)},
		initializedCondition(want, have, s),
		readyCondition(want, all, s),
		containersReadyCondition(want, s),
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
	}
	for _, c := range own {
		c.ObservedGeneration = want.Generation
		c.LastTransitionTime = since(now, have, want, c)
		all = append(all, c)
	}
	return all
}

// OwnsCondition says whether a condition of a pod is the node's to set.
func OwnsCondition(kind corev1.PodConditionType) bool { return ownConditions[kind] }

var ownConditions = map[corev1.PodConditionType]bool{
	corev1.PodReadyToStartContainers: true,
	corev1.PodInitialized:            true,
	corev1.PodReady:                  true,
	corev1.ContainersReady:           true,
	corev1.PodScheduled:              true,
}

// since is when the condition took its status.
func since(now time.Time, have *Have, want *corev1.Pod, c corev1.PodCondition) metav1.Time {
	for _, old := range append(slices.Clone(have.Reported.Conditions), want.Status.Conditions...) {
		if old.Type == c.Type {
			if old.Status == c.Status {
				return old.LastTransitionTime
			}
			break
		}
	}
	return metav1.NewTime(now)
}

func truth(b bool) corev1.ConditionStatus {
	if b {
		return corev1.ConditionTrue
	}
	return corev1.ConditionFalse
}

func initializedCondition(want *corev1.Pod, have *Have, s *corev1.PodStatus) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.PodInitialized, Status: corev1.ConditionTrue}
	var incomplete []string
	for i, spec := range want.Spec.InitContainers {
		status := s.InitContainerStatuses[i]
		if isSidecar(&spec) && *status.Started || !isSidecar(&spec) && status.Ready {
			continue
		}
		incomplete = append(incomplete, spec.Name)
	}
	switch {
	case s.Phase == corev1.PodSucceeded:
		c.Reason = "PodCompleted"
	case incomplete != nil && !initialized(want, have):
		c.Status, c.Reason = corev1.ConditionFalse, "ContainersNotInitialized"
		c.Message = "containers with incomplete status: [" + strings.Join(incomplete, " ") + "]"
	}
	return c
}

func containersReadyCondition(want *corev1.Pod, s *corev1.PodStatus) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.ContainersReady, Status: corev1.ConditionFalse}
	switch unready := unreadyContainers(want, s); {
	case s.Phase == corev1.PodSucceeded:
		c.Reason = "PodCompleted"
	case s.Phase == corev1.PodFailed:
		c.Reason = "PodFailed"
	case unready != nil:
		c.Reason = "ContainersNotReady"
		c.Message = "containers with unready status: [" + strings.Join(unready, " ") + "]"
	default:
		c.Status = corev1.ConditionTrue
	}
	return c
}

func unreadyContainers(want *corev1.Pod, s *corev1.PodStatus) []string {
	ready := map[string]bool{}
	for _, c := range slices.Concat(s.InitContainerStatuses, s.ContainerStatuses) {
		ready[c.Name] = c.Ready
	}
	var unready []string
	for spec := range containers(want) {
		if !ready[spec.Name] && (isSidecar(spec) || !isInit(want, spec.Name)) {
			unready = append(unready, spec.Name)
		}
	}
	return unready
}

// readyCondition is ContainersReady and what the readiness gates say.
func readyCondition(want *corev1.Pod, others []corev1.PodCondition, s *corev1.PodStatus) corev1.PodCondition {
	c := containersReadyCondition(want, s)
	c.Type = corev1.PodReady
	if c.Status != corev1.ConditionTrue {
		return c
	}
	var missing []string
	for _, gate := range want.Spec.ReadinessGates {
		i := slices.IndexFunc(others, func(o corev1.PodCondition) bool { return o.Type == gate.ConditionType })
		switch {
		case i < 0:
			missing = append(missing, `corresponding condition of pod readiness gate "`+string(gate.ConditionType)+`" does not exist.`)
		case others[i].Status != corev1.ConditionTrue:
			missing = append(missing, `the status of pod readiness gate "`+string(gate.ConditionType)+`" is not "True", but `+string(others[i].Status))
		}
	}
	if missing != nil {
		c.Status, c.Reason, c.Message = corev1.ConditionFalse, "ReadinessGatesNotReady", strings.Join(missing, ", ")
	}
	return c
}
