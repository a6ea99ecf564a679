package pod

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"wherry/nodeagent/runtime"
)

// recall makes what is known of a pod from the status that was reported last, by an earlier process of the agent
// perhaps: numbers of runs go on, what has ended has ended, the address is asked for again. What is said to be running
// is held to run until the driver has been asked.
func recall(now time.Time, p *corev1.Pod, hostAddress string) *Have {
	h := newHave(now, p)
	h.HostAddress = hostAddress
	h.Reported = *p.Status.DeepCopy()
	if t := p.Status.StartTime; t != nil {
		h.Since = t.Time
	}
	h.formerAddress = p.Status.PodIP
	for _, statuses := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for i := range statuses {
			if c := h.Containers[statuses[i].Name]; c != nil {
				c.recall(p, &statuses[i])
			}
		}
	}
	return h
}

func (c *Container) recall(p *corev1.Pod, s *corev1.ContainerStatus) {
	id := runtime.ID{Pod: string(p.UID), Container: s.Name, Attempt: int(s.RestartCount)}
	last := s.LastTerminationState.Terminated
	switch {
	case s.State.Running != nil:
		c.Phase = Running
		c.Run = runtime.Status{ID: id, State: runtime.Running, Started: s.State.Running.StartedAt.Time, ContainerID: s.ContainerID}
		c.Started = s.Started != nil && *s.Started
		c.Ready = s.Ready
	case s.State.Terminated != nil:
		c.Phase = Exited
		c.Run = exitedRun(id, s.State.Terminated)
	case last != nil:
		// Waiting to be started again: the newest run is the one that ended last.
		c.Phase = Exited
		c.Run = exitedRun(id, last)
		last = nil
	default:
		return // never ran
	}
	c.Attempt, c.Ref, c.ImageID = id.Attempt, s.Image, s.ImageID
	if last != nil {
		id.Attempt--
		before := exitedRun(id, last)
		c.Before = &before
	}
}

func exitedRun(id runtime.ID, t *corev1.ContainerStateTerminated) runtime.Status {
	return runtime.Status{
		ID: id, State: runtime.Exited, Started: t.StartedAt.Time, Finished: t.FinishedAt.Time,
		ExitCode: int(t.ExitCode), Reason: t.Reason, Message: t.Message, ContainerID: t.ContainerID,
	}
}
