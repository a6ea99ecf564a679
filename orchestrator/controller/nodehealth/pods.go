package nodehealth

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/state"
)

// nodeNotReady is the reason of a pod's condition Ready that is False because of its node. Under
// it lies the agent's last word, True, which holds again when the node does.
const nodeNotReady = "NodeNotReady"

// tend does to the node's pods what its condition and taints ask, and says when there is more to do;
// 0 if that is not a matter of time.
func (c *nodes) tend(ctx context.Context, node *corev1.Node) (time.Duration, error) {
	is := calm(node)
	if is && c.isSettled(node.Name) {
		return 0, nil
	}
	var mu sync.Mutex
	var again time.Duration
	err := c.each(ctx, node.Name, func(ctx context.Context, p *corev1.Pod) error {
		wait, err := c.tendOne(ctx, node, p)
		mu.Lock()
		defer mu.Unlock()
		again = sooner(again, wait)
		return err
	})
	c.settle(node.Name, is && err == nil)
	return again, err
}

// calm says that nothing about the node concerns the pods that are on it.
func calm(n *corev1.Node) bool {
	return !unwell(n) && !slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Effect == corev1.TaintEffectNoExecute })
}

func unwell(n *corev1.Node) bool {
	ready := condition(n, corev1.NodeReady)
	return ready == corev1.ConditionFalse || ready == corev1.ConditionUnknown
}

// each calls f for the pods on a node, several at once. A pod that is gone, or replaced by another of its
// name, is no error.
func (c *nodes) each(ctx context.Context, node string, f func(context.Context, *corev1.Pod) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, p := range state.List[*corev1.Pod](c.state, state.Selector{Node: node}) {
		group.Go(func() error {
			err := f(ctx, p)
			if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
				return fmt.Errorf("pod %s/%s: %w", p.Namespace, p.Name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

func (c *nodes) tendOne(ctx context.Context, node *corev1.Node, p *corev1.Pod) (time.Duration, error) {
	if err := c.showReadiness(ctx, node, p); err != nil {
		return 0, err
	}
	if p.DeletionTimestamp != nil {
		if unwell(node) && outOfService(node) {
			return 0, c.force(ctx, p, "DeletionByPodGC", "PodGC: node is out of service")
		}
		return 0, nil
	}
	wait, leaves := c.stay(node, p)
	if !leaves || wait > 0 {
		return wait, nil
	}
	return 0, c.evict(ctx, p)
}

func outOfService(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService })
}

// showReadiness lays the node's not being ready over the pod's condition Ready, or takes it away again.
func (c *nodes) showReadiness(ctx context.Context, node *corev1.Node, p *corev1.Pod) error {
	if !overlay(p.DeepCopy(), node) {
		return nil
	}
	return c.write(ctx, p, func(live *corev1.Pod) { overlay(live, node) })
}

// overlay says whether it changed the pod.
func overlay(p *corev1.Pod, node *corev1.Node) bool {
	ready := controller.Condition(p, corev1.PodReady)
	switch {
	case ready == nil:
		return false
	case unwell(node) && ready.Status == corev1.ConditionTrue:
		ready.Status, ready.Reason, ready.Message = corev1.ConditionFalse, nodeNotReady, "The pod's node is not ready."
	case condition(node, corev1.NodeReady) == corev1.ConditionTrue && ready.Status == corev1.ConditionFalse && ready.Reason == nodeNotReady:
		ready.Status, ready.Reason, ready.Message = corev1.ConditionTrue, "", ""
	default:
		return false
	}
	ready.LastTransitionTime = metav1.NewTime(now())
	return true
}

// stay says whether the pod has to leave the node, and after what time. Nobody has to because of a silence
// that is over, or that is not one yet.
func (c *nodes) stay(node *corev1.Node, p *corev1.Pod) (wait time.Duration, leaves bool) {
	is, _ := c.contact(node)
	if is == awaited {
		return 0, false
	}
	for i := range node.Spec.Taints {
		t := &node.Spec.Taints[i]
		if t.Effect != corev1.TaintEffectNoExecute || t.Key == corev1.TaintNodeUnreachable && is == heard {
			continue
		}
		at, ends := end(t, p)
		if left := max(0, time.Until(at)); ends && (!leaves || left < wait) {
			wait, leaves = left, true
		}
	}
	return wait, leaves
}

// end is when the pod's toleration of a taint ends, at once if there is none; false if never.
func end(t *corev1.Taint, p *corev1.Pod) (time.Time, bool) {
	i := slices.IndexFunc(p.Spec.Tolerations, func(o corev1.Toleration) bool { return o.ToleratesTaint(logr.Discard(), t, false) })
	if i < 0 {
		return time.Time{}, true
	}
	seconds := p.Spec.Tolerations[i].TolerationSeconds
	if seconds == nil {
		return time.Time{}, false
	}
	since := bound(p)
	if t.TimeAdded != nil && t.TimeAdded.After(since) {
		since = t.TimeAdded.Time
	}
	return since.Add(time.Duration(min(max(0, *seconds), math.MaxInt32)) * time.Second), true
}

// bound is when the pod came to its node, as far as it says.
func bound(p *corev1.Pod) time.Time {
	if s := controller.Condition(p, corev1.PodScheduled); s != nil && s.Status == corev1.ConditionTrue {
		return s.LastTransitionTime.Time
	}
	return p.CreationTimestamp.Time
}

// evict deletes the pod with its own grace period.
func (c *nodes) evict(ctx context.Context, p *corev1.Pod) error {
	err := c.write(ctx, p, func(live *corev1.Pod) {
		disrupt(live, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint")
	})
	if err != nil {
		return err
	}
	if err := c.delete(ctx, p, nil); err != nil {
		return err
	}
	c.events.Eventf(p, corev1.EventTypeNormal, "TaintManagerEviction", "Marking for deletion Pod %s/%s", p.Namespace, p.Name)
	return nil
}

// collect removes the pods of a node that does not exist.
func (c *nodes) collect(ctx context.Context, node string) error {
	return c.each(ctx, node, func(ctx context.Context, p *corev1.Pod) error {
		return c.force(ctx, p, "DeletionByPodGC", "PodGC: node no longer exists")
	})
}

// force removes the pod without waiting for its node. One that a finalizer holds has gone as far as it can.
func (c *nodes) force(ctx context.Context, p *corev1.Pod, reason, message string) error {
	if g := p.DeletionGracePeriodSeconds; p.DeletionTimestamp != nil && g != nil && *g == 0 {
		return nil
	}
	if p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
		err := c.write(ctx, p, func(live *corev1.Pod) {
			live.Status.Phase = corev1.PodFailed
			disrupt(live, reason, message)
		})
		if err != nil {
			return err
		}
	}
	none := int64(0)
	return c.delete(ctx, p, &none)
}

func (c *nodes) delete(ctx context.Context, p *corev1.Pod, grace *int64) error {
	err := state.Delete[*corev1.Pod](ctx, c.state, p.Namespace, p.Name, state.DeleteOptions{Grace: grace, Preconditions: &metav1.Preconditions{UID: &p.UID}})
	if err != nil {
		return fmt.Errorf("deleting: %w", err)
	}
	return nil
}

func (c *nodes) write(ctx context.Context, p *corev1.Pod, change func(live *corev1.Pod)) error {
	_, err := state.UpdateStatus(ctx, c.state, p.Namespace, p.Name, func(live *corev1.Pod) error {
		if live.UID == p.UID {
			change(live)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("writing status: %w", err)
	}
	return nil
}

// disrupt sets the condition that says that the pod did not end by itself.
func disrupt(p *corev1.Pod, reason, message string) {
	if controller.Condition(p, corev1.DisruptionTarget) != nil {
		return
	}
	p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: reason, Message: message, LastTransitionTime: metav1.NewTime(now()),
	})
}
