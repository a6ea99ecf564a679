package apiserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/duration"

	"wherry/orchestrator/apiserver/wire"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
)

// table shows objects as rows, as `kubectl get` asks for them. It belongs to one request:
// the columns are shown once.
type table struct {
	kind    *resource.Kind
	version string // of meta.k8s.io
	include metav1.IncludeObjectPolicy
	headed  bool // the columns have been shown
}

// tableOptions reads ?includeObject=.
func (c *call) tableOptions() (metav1.IncludeObjectPolicy, error) {
	query := c.r.URL.Query()
	var o metav1.TableOptions
	if err := metav1.Convert_url_Values_To_v1_TableOptions(&query, &o, nil); err != nil {
		return "", apierrors.NewBadRequest(err.Error())
	}
	if errs := validation.ValidateTableOptions(&o); len(errs) > 0 {
		return "", apierrors.NewBadRequest(fmt.Sprintf("Unable to convert to Table as requested: %v", errs.ToAggregate()))
	}
	return o.IncludeObject, nil
}

var defaultColumns = []metav1.TableColumnDefinition{
	{Name: "Name", Type: "string", Format: "name", Description: metav1.ObjectMeta{}.SwaggerDoc()["name"]},
	{Name: "Age", Type: "string", Description: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"]},
}

func (t *table) columns() []metav1.TableColumnDefinition {
	switch {
	case t.headed:
		return nil
	case t.kind.Row == nil:
		return defaultColumns
	}
	return t.kind.Columns
}

// told are the fields of a row that tell of the object, as JSON without braces.
func (t *table) told(it item) ([]byte, error) {
	if t.kind.Row != nil {
		if entry, ok := it.(*state.Entry); ok {
			if b := entry.Row(); b != nil {
				return b, nil
			}
		}
		return t.kind.EncodeRow(it.Object())
	}
	obj, age := it.Object(), "<unknown>"
	if created := obj.GetCreationTimestamp(); !created.IsZero() {
		age = duration.HumanDuration(time.Since(created.Time))
	}
	cells, err := json.Marshal([]any{obj.GetName(), age})
	if err != nil {
		return nil, fmt.Errorf("encoding table cells: %w", err)
	}
	return slices.Concat([]byte(`"cells":`), cells), nil
}

// row is one line of JSON.
func (t *table) row(it item) ([]byte, error) {
	told, err := t.told(it)
	if err != nil {
		return nil, err
	}
	object, err := t.object(it)
	if err != nil {
		return nil, err
	}
	return slices.Concat([]byte("{"), told, []byte(`,"object":`), object, []byte("}")), nil
}

// object is what a row carries beside its cells.
func (t *table) object(it item) ([]byte, error) {
	switch t.include {
	case metav1.IncludeObject:
		return it.JSON(), nil
	case metav1.IncludeNone:
		return []byte("null"), nil
	}
	if meta := wire.Metadata(it.JSON(), t.kind.Kind, t.kind.GroupVersion().String()); meta != nil {
		begin := fmt.Appendf(nil, `{"kind":"PartialObjectMetadata","apiVersion":"%s/%s","metadata":`, metav1.GroupName, t.version)
		return slices.Concat(begin, meta, []byte("}")), nil
	}
	b, err := json.Marshal(partial(it.Object(), t.version))
	if err != nil {
		return nil, fmt.Errorf("encoding metadata: %w", err)
	}
	return b, nil
}

// write writes a whole table: its head and n rows.
func (t *table) write(w io.Writer, list metav1.ListMeta, n int, at func(int) item) error {
	columns, err := json.Marshal(t.columns())
	if err != nil {
		return fmt.Errorf("encoding table columns: %w", err)
	}
	t.headed = true
	return wire.JSONTable(w, wire.Head{Kind: "Table", APIVersion: metaKind(t.version, "").GroupVersion().String(), Meta: list}, columns, n,
		func(i int) ([]byte, error) { return t.row(at(i)) })
}

// one is a table of one row, which carries the object's resourceVersion.
func (t *table) one(it item) ([]byte, error) {
	var b bytes.Buffer
	meta := metav1.ListMeta{ResourceVersion: it.Object().GetResourceVersion()}
	if err := t.write(&b, meta, 1, func(int) item { return it }); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}
