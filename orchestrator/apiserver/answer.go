package apiserver

import (
	"net/http"
	"strconv"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"wherry/orchestrator/apiserver/media"
	"wherry/orchestrator/resource"
)

// object answers with an object of the call's kind, as a write returned it.
func (c *call) object(code int, obj resource.Object) error {
	return c.item(code, c.s.item(c.kind, obj))
}

// item answers with one stored object in the negotiated form.
func (c *call) item(code int, it item) error {
	show, err := c.viewer()
	if err != nil {
		return err
	}
	b, err := show(it)
	if err != nil {
		return err
	}
	if c.out.Format != media.Protobuf {
		if b, err = text(b, c.out); err != nil {
			return err
		}
	}
	c.bytes(code, b)
	return nil
}

// other answers with an object that is not of the call's kind: a Status, a Scale, a review.
func (c *call) other(code int, obj runtime.Object, gvk schema.GroupVersionKind) error {
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	out := c.out
	out.As = media.Object
	b, err := c.s.codec.encode(obj, out)
	if err != nil {
		return err
	}
	c.bytes(code, b)
	return nil
}

// success answers with a Status of success.
func (c *call) success(code int, details *metav1.StatusDetails) error {
	status := &metav1.Status{Status: metav1.StatusSuccess, Details: details}
	if code == http.StatusCreated {
		status.Code = http.StatusCreated
	}
	return c.other(code, status, metav1.Unversioned.WithKind("Status"))
}

// bytes writes the answer. An error means that the client has gone; the server notices by itself.
func (c *call) bytes(code int, b []byte) {
	c.w.Header().Set("Content-Type", c.out.ContentType())
	c.w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	c.w.WriteHeader(code)
	_, _ = c.w.Write(b)
}

// viewer returns the function that shows an item as the client wants to see it: JSON, or
// an enveloped protobuf message.
func (c *call) viewer() (func(item) ([]byte, error), error) {
	proto := c.out.Format == media.Protobuf
	switch c.out.As {
	case media.Table:
		include, err := c.tableOptions()
		if err != nil {
			return nil, err
		}
		t := table{kind: c.kind, version: c.out.Version, include: include}
		return t.one, nil
	case media.Partial:
		return func(it item) ([]byte, error) { return c.s.codec.raw(partial(it.Object(), c.out.Version), c.out.Format) }, nil
	case media.PartialList:
		return nil, media.NotAcceptable("you requested PartialObjectMetadataList, but the requested object is not a list")
	}
	return func(it item) ([]byte, error) {
		if proto {
			return it.Proto(), nil
		}
		return it.JSON(), nil
	}, nil
}

// partial is the metadata of an object.
func partial(obj metav1.Object, version string) *metav1.PartialObjectMetadata {
	p := meta.AsPartialObjectMetadata(obj)
	p.SetGroupVersionKind(metaKind(version, "PartialObjectMetadata"))
	return p
}

func metaKind(version, kind string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: metav1.GroupName, Version: version, Kind: kind}
}
