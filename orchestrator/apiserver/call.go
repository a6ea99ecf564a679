package apiserver

import (
	"context"
	"io"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/net"

	"wherry/orchestrator/apiserver/auth"
	"wherry/orchestrator/apiserver/media"
	"wherry/orchestrator/resource"
)

// call is one request for a resource on its way through the handlers.
type call struct {
	s    *Server
	w    http.ResponseWriter
	r    *http.Request
	at   target
	user *auth.User
	kind *resource.Kind // nil for resources that are not stored (reviews)
	out  media.Type
}

func (c *call) ctx() context.Context { return c.r.Context() }

// warn adds a Warning header; it must come before the answer.
func (c *call) warn(texts ...string) {
	for _, text := range texts {
		header, err := net.NewWarningHeader(299, "-", text)
		if err != nil {
			c.s.log.Debug("a warning cannot be sent", "error", err)
			continue
		}
		c.w.Header().Add("Warning", header)
	}
}

// Bounds of what a client may send.
const (
	maxBody = 3 << 20 // bytes
	maxURL  = 64 << 10
)

// body reads the whole body. Errors: 413, 415.
func (c *call) body() (body, error) {
	format, err := media.Body(c.r.Header.Get("Content-Type"))
	if err != nil {
		return body{}, err
	}
	data, err := c.read()
	return body{data: data, format: format}, err
}

func (c *call) read() ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(c.r.Body, maxBody+1))
	if err != nil {
		return nil, apierrors.NewBadRequest("reading the body: " + err.Error())
	}
	if len(data) > maxBody {
		return nil, apierrors.NewRequestEntityTooLargeError("limit is 3145728")
	}
	return data, nil
}

// place makes obj lie in the namespace of the request, or refuses another one.
func (c *call) place(obj metav1.Object) error {
	switch obj.GetNamespace() {
	case c.namespace():
	case "":
		obj.SetNamespace(c.namespace())
	default:
		if c.namespace() != "" {
			return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
		}
		obj.SetNamespace("")
	}
	return nil
}

// namespace is where the object lies: "" for cluster-scoped kinds, also for a Namespace.
func (c *call) namespace() string {
	if c.kind != nil && !c.kind.Namespaced {
		return ""
	}
	return c.at.namespace
}
