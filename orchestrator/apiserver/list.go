package apiserver

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/apiserver/media"
	"wherry/orchestrator/apiserver/wire"
	"wherry/orchestrator/state"
)

func (c *call) get() error {
	o, err := parse(c.r.URL.Query(), metav1.Convert_url_Values_To_v1_GetOptions)
	if err != nil {
		return err
	}
	if err := c.s.state.Reach(c.ctx(), o.ResourceVersion); err != nil {
		return err
	}
	entry, err := c.s.state.Get(c.ctx(), c.kind, c.namespace(), c.at.name)
	if err != nil {
		return err
	}
	return c.item(http.StatusOK, entry)
}

func (c *call) list() error {
	o, err := c.listOptions(false)
	if err != nil {
		return err
	}
	page, err := c.s.state.List(c.ctx(), c.kind, state.ListOptions{
		Selector: o.selector, Limit: o.Limit, Continue: o.Continue,
		ResourceVersion: o.ResourceVersion, Match: o.ResourceVersionMatch,
	})
	if err != nil {
		return err
	}
	return c.listed(page)
}

// listed answers with what state listed.
func (c *call) listed(page *state.Page) error {
	meta := metav1.ListMeta{
		ResourceVersion: strconv.FormatUint(page.Revision, 10),
		Continue:        page.Continue, RemainingItemCount: page.Remaining,
	}
	return c.page(meta, len(page.Entries), func(i int) item { return page.Entries[i] })
}

// page answers with n items of the call's kind in the negotiated form.
func (c *call) page(meta metav1.ListMeta, n int, at func(int) item) error {
	write, err := c.pager(meta, n, at)
	if err != nil {
		return err
	}
	if c.out.Format == media.YAML || c.out.Format == media.JSON && c.out.Pretty {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			return err
		}
		shaped, err := text(b.Bytes(), c.out)
		if err != nil {
			return err
		}
		c.bytes(http.StatusOK, shaped)
		return nil
	}
	c.w.Header().Set("Content-Type", c.out.ContentType())
	out := bufio.NewWriterSize(c.w, 32<<10)
	err = write(out)
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		// The head is out: nothing is left but to break the connection.
		c.s.log.Debug("a list was not written to its end", "path", c.r.URL.Path, "error", err)
		panic(http.ErrAbortHandler)
	}
	return nil
}

// pager returns what writes the list.
func (c *call) pager(meta metav1.ListMeta, n int, at func(int) item) (func(io.Writer) error, error) {
	apiVersion := c.kind.GroupVersion().String()
	head := wire.Head{Kind: c.listKind(), APIVersion: apiVersion, Meta: meta}
	switch {
	case c.out.As == media.Table:
		include, err := c.tableOptions()
		if err != nil {
			return nil, err
		}
		t := table{kind: c.kind, version: c.out.Version, include: include}
		return func(w io.Writer) error { return t.write(w, meta, n, at) }, nil
	case c.out.As == media.Partial:
		return nil, media.NotAcceptable("you requested PartialObjectMetadata, but the requested object is a list")
	case c.out.As == media.PartialList:
		return c.partials(meta, n, at), nil
	case c.out.Format == media.Protobuf:
		items := make([][]byte, n)
		for i := range items {
			items[i] = at(i).Message()
		}
		return func(w io.Writer) error { return wire.ProtobufList(w, head, items) }, nil
	}
	return func(w io.Writer) error {
		bare := wire.NewBare(c.kind.Kind, apiVersion)
		return wire.JSONList(w, head, n, func(i int) ([]byte, error) { return bare.Of(at(i).JSON()), nil })
	}, nil
}

func (c *call) listKind() string {
	if c.kind.Custom != nil && c.kind.Custom.ListKind != "" {
		return c.kind.Custom.ListKind
	}
	return c.kind.Kind + "List"
}

func (c *call) partials(meta metav1.ListMeta, n int, at func(int) item) func(io.Writer) error {
	list := &metav1.PartialObjectMetadataList{ListMeta: meta}
	if n > 0 {
		list.Items = make([]metav1.PartialObjectMetadata, n)
	}
	list.SetGroupVersionKind(metaKind(c.out.Version, "PartialObjectMetadataList"))
	return func(w io.Writer) error {
		for i := range list.Items {
			list.Items[i] = *partial(at(i).Object(), c.out.Version)
		}
		b, err := c.s.codec.encode(list, media.Type{Format: c.out.Format})
		if err != nil {
			return err
		}
		_, err = w.Write(b)
		return err
	}
}
