package apiserver

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"wherry/orchestrator/apiserver/portforward"
	"wherry/proto/link"
	"wherry/proto/nodelink"
)

// forward answers pods/NAME/portforward: each connection of the client becomes one stream
// to the pod's agent.
func (c *call) forward() error {
	pod, err := c.pod()
	if err != nil {
		return err
	}
	if pod.Spec.NodeName == "" {
		return apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", pod.Name))
	}
	c.s.streams.Add(1)
	defer c.s.streams.Done()
	ctx, cancel := c.streamContext()
	defer cancel()
	name := pod.Name + ", uid " + string(pod.UID)
	err = portforward.Serve(ctx, c.w, c.r, name, c.dialer(pod), c.s.log)
	if errors.Is(err, portforward.ErrUpgrade) {
		return apierrors.NewBadRequest("Upgrade request required: " + err.Error())
	}
	return err
}

// dialer opens connections into a pod.
func (c *call) dialer(pod *corev1.Pod) portforward.Dial {
	return func(ctx context.Context, port uint16) (portforward.Stream, error) {
		return c.connect(ctx, pod, port)
	}
}

// connect opens one connection to a port of a pod.
func (c *call) connect(ctx context.Context, pod *corev1.Pod, port uint16) (link.Stream, error) {
	return c.open(ctx, pod, &nodelink.Open{Body: &nodelink.Open_PortForward{
		PortForward: &nodelink.PortForward{PodUid: string(pod.UID), Port: uint32(port)}}})
}
