// Package nodehealth does what follows from a node's health, as Kubernetes' node lifecycle
// controller, taint manager and pod garbage collector do:
//
//	silence --> conditions Unknown --> taints --> pods not ready, later evicted
//	no such node any more -----------------------> its pods are deleted by force
//
// A pod that is evicted stays, Terminating, until its node comes back and says that it is
// gone, or until the Node is deleted: nobody else can know that it has stopped.
package nodehealth

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/state"
)

// Grace is how long a node may be silent, as Kubernetes' node-monitor-grace-period. It
// is longer than three heartbeats.
const Grace = 40 * time.Second

// parallel is how many pods are written at once: their commits share an fsync.
const parallel = 64

// New returns the controller; its keys are names of nodes, in no namespace. lastHeard says
// when a node was last heard by this process, and false if never; a node that was not
// has Grace from the controller's first reconcile on.
func New(s *state.State, events controller.Events, lastHeard func(node string) (time.Time, bool)) controller.Controller {
	c := &nodes{
		state: s, events: events, lastHeard: lastHeard,
		started: sync.OnceValue(time.Now),
		settled: map[string]bool{},
	}
	return controller.Controller{
		Name: "nodehealth",
		Sources: []controller.Source{
			controller.On(controller.Self[*corev1.Node]),
			controller.On(nodeOf),
		},
		Reconcile: c.reconcile,
	}
}

type nodes struct {
	state     *state.State
	events    controller.Events
	lastHeard func(string) (time.Time, bool)
	started   func() time.Time

	mu      sync.Mutex
	settled map[string]bool // calm nodes whose pods need nothing, so that they are not looked at
}

// nodeOf is the node that the pod is bound to.
func nodeOf(p *corev1.Pod) []controller.Key {
	if p.Spec.NodeName == "" {
		return nil
	}
	return []controller.Key{{Name: p.Spec.NodeName}}
}

// contact is what this process knows of a node by ear.
type contact int

const (
	heard   contact = iota // within Grace
	awaited                // not heard since this process or the Node began, with time left
	lost                   // silent for longer than Grace
)

// contact says how long it stays so, unless the node is heard; 0 if lost.
func (c *nodes) contact(n *corev1.Node) (contact, time.Duration) {
	at, ever := c.lastHeard(n.Name)
	if left := time.Until(at.Add(Grace)); ever && left > 0 {
		return heard, left
	}
	since := c.started()
	if n.CreationTimestamp.After(since) {
		since = n.CreationTimestamp.Time
	}
	if left := time.Until(since.Add(Grace)); left > 0 {
		return awaited, left
	}
	return lost, 0
}

func (c *nodes) reconcile(ctx context.Context, key controller.Key) (time.Duration, error) {
	c.started()
	node, ok := state.Get[*corev1.Node](c.state, "", key.Name)
	if !ok {
		c.settle(key.Name, false)
		return 0, c.collect(ctx, key.Name)
	}
	node, err := c.judge(ctx, node)
	if apierrors.IsNotFound(err) {
		return 0, nil // its deletion wakes us
	}
	if err != nil {
		return 0, err
	}
	again, err := c.tend(ctx, node)
	_, left := c.contact(node)
	return sooner(again, left), err
}

// sooner is the shorter of two waits, of which 0 is none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// judge brings the node's conditions and taints up to date and returns it as it then is.
func (c *nodes) judge(ctx context.Context, node *corev1.Node) (*corev1.Node, error) {
	var err error
	if is, _ := c.contact(node); is == lost && !unknown(node) {
		node, err = state.UpdateStatus(ctx, c.state, "", node.Name, func(live *corev1.Node) error {
			if is, _ := c.contact(live); is == lost {
				forget(live, now())
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("writing that the node is lost: %w", err)
		}
	}
	if same(node.Spec.Taints, taints(node, now())) {
		return node, nil
	}
	node, err = state.Update(ctx, c.state, "", node.Name, func(live *corev1.Node) error {
		live.Spec.Taints = taints(live, now())
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("tainting the node: %w", err)
	}
	return node, nil
}

// now is the time as objects keep it.
func now() time.Time { return time.Now().Truncate(time.Second) }

// isSettled says that the node's pods need not be looked at until it is unwell.
func (c *nodes) isSettled(node string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.settled[node]
}

func (c *nodes) settle(node string, is bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if is {
		c.settled[node] = true
	} else {
		delete(c.settled, node)
	}
}
