package apiserver

import (
	"context"
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"wherry/proto/link"
	"wherry/proto/nodelink"
)

// Nodes opens streams to agents.
type Nodes interface {
	// Open opens a stream to the agent of a node, sends o and reads the answer: the stream
	// is at the first byte behind Opened. The caller closes it. Errors: the node has no
	// session, or its agent refused, in its own words.
	Open(ctx context.Context, node string, o *nodelink.Open) (link.Stream, error)
}

// pod is the pod that the call names.
func (c *call) pod() (*corev1.Pod, error) {
	entry, err := c.s.state.Get(c.ctx(), c.kind, c.namespace(), c.at.name)
	if err != nil {
		return nil, err
	}
	return entry.Object().(*corev1.Pod), nil
}

// open opens a stream to the agent that runs pod.
func (c *call) open(ctx context.Context, pod *corev1.Pod, o *nodelink.Open) (link.Stream, error) {
	return c.s.openNode(ctx, pod.Spec.NodeName, o)
}

// openNode opens a stream to the agent of a node. Errors: 502.
func (s *Server) openNode(ctx context.Context, node string, o *nodelink.Open) (link.Stream, error) {
	if s.cfg.Nodes == nil {
		return nil, unreachable(node, "this server has no connections to nodes")
	}
	stream, err := s.cfg.Nodes.Open(ctx, node, o)
	if err != nil {
		return nil, unreachable(node, err.Error())
	}
	return stream, nil
}

func unreachable(node, why string) error {
	return apierrors.NewGenericServerResponse(http.StatusBadGateway, "get", schema.GroupResource{Resource: "nodes"}, node,
		fmt.Sprintf("node %s: %s", node, why), 0, true)
}

// streamContext ends with the client or the server.
func (c *call) streamContext() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(c.ctx())
	stop := context.AfterFunc(c.s.stopping, cancel)
	return ctx, func() { stop(); cancel() }
}
