// Package wire joins encoded objects into lists and watch events, without decoding them.
package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protowire"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Head is what stands around the items of a list.
type Head struct {
	Kind, APIVersion string
	Meta             metav1.ListMeta
}

// JSONList writes a list of n items; item returns the i-th as one JSON object.
func JSONList(w io.Writer, head Head, n int, item func(i int) ([]byte, error)) error {
	return jsonArray(w, head, `,"items":[`, n, item)
}

func jsonArray(w io.Writer, head Head, before string, n int, item func(i int) ([]byte, error)) error {
	meta, err := json.Marshal(head.Meta)
	if err != nil {
		return fmt.Errorf("encoding list metadata: %w", err)
	}
	if _, err := fmt.Fprintf(w, `{"kind":%q,"apiVersion":%q,"metadata":%s%s`, head.Kind, head.APIVersion, meta, before); err != nil {
		return err
	}
	for i := range n {
		if i > 0 {
			if _, err := io.WriteString(w, ","); err != nil {
				return err
			}
		}
		b, err := item(i)
		if err != nil {
			return err
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	_, err = io.WriteString(w, "]}\n")
	return err
}

// Bare takes kind and apiVersion from the beginning of JSON objects, as items of a list
// are shown. It keeps one buffer.
type Bare struct {
	prefix, buf []byte
}

// NewBare makes a Bare for objects of one kind.
func NewBare(kind, apiVersion string) *Bare {
	return &Bare{prefix: fmt.Appendf(nil, `{"kind":%q,"apiVersion":%q,`, kind, apiVersion)}
}

// Of returns the bare object, valid until the next call. Objects that do not begin with the kind are returned as they are.
func (b *Bare) Of(object []byte) []byte {
	rest, found := bytes.CutPrefix(object, b.prefix)
	if !found {
		return object
	}
	b.buf = append(append(b.buf[:0], '{'), rest...)
	return b.buf
}

// Metadata is the part of a JSON object, as this server encodes them, that stands under its first
// "metadata", which follows kind and apiVersion. It shares memory; nil if the object begins otherwise.
func Metadata(object []byte, kind, apiVersion string) []byte {
	rest, found := bytes.CutPrefix(object, fmt.Appendf(nil, `{"kind":%q,"apiVersion":%q,"metadata":`, kind, apiVersion))
	if !found {
		return nil
	}
	depth, quoted := 0, false
	for i := 0; i < len(rest); i++ {
		switch b := rest[i]; {
		case quoted && b == '\\':
			i++
		case b == '"':
			quoted = !quoted
		case quoted:
		case b == '{':
			depth++
		case b == '}':
			if depth--; depth == 0 {
				return rest[:i+1]
			}
		}
	}
	return nil
}

// magic begins every Kubernetes protobuf message.
var magic = []byte("k8s\x00")

// The fields of runtime.Unknown, runtime.TypeMeta, lists, metav1.WatchEvent and
// runtime.RawExtension that are written here.
const (
	unknownTypeMeta    = 1
	unknownRaw         = 2
	unknownEncoding    = 3
	unknownContentType = 4
	typeMetaAPIVersion = 1
	typeMetaKind       = 2
	listMeta           = 1
	listItems          = 2
	eventType          = 1
	eventObject        = 2
	extensionRaw       = 1
)

// ErrEnvelope says that bytes are not a Kubernetes protobuf message.
var ErrEnvelope = errors.New("wire: not a Kubernetes protobuf message")

// Raw returns the message inside a Kubernetes protobuf envelope; it shares memory.
func Raw(envelope []byte) ([]byte, error) {
	b, found := bytes.CutPrefix(envelope, magic)
	if !found {
		return nil, ErrEnvelope
	}
	var raw []byte
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, fmt.Errorf("%w: %w", ErrEnvelope, protowire.ParseError(n))
		}
		b = b[n:]
		n = protowire.ConsumeFieldValue(number, kind, b)
		if n < 0 {
			return nil, fmt.Errorf("%w: %w", ErrEnvelope, protowire.ParseError(n))
		}
		if number == unknownRaw && kind == protowire.BytesType {
			raw, _ = protowire.ConsumeBytes(b)
		}
		b = b[n:]
	}
	return raw, nil
}

// ProtobufList writes a list of bare messages as one enveloped message.
func ProtobufList(w io.Writer, head Head, items [][]byte) error {
	meta, err := head.Meta.Marshal()
	if err != nil {
		return fmt.Errorf("encoding list metadata: %w", err)
	}
	size := sizeBytes(listMeta, len(meta))
	for _, item := range items {
		size += sizeBytes(listItems, len(item))
	}
	start := appendHead(nil, head, size)
	if _, err := w.Write(protowire.AppendBytes(protowire.AppendTag(start, listMeta, protowire.BytesType), meta)); err != nil {
		return err
	}
	var tag [16]byte
	for _, raw := range items {
		b := protowire.AppendVarint(protowire.AppendTag(tag[:0], listItems, protowire.BytesType), uint64(len(raw)))
		if _, err := w.Write(b); err != nil {
			return err
		}
		if _, err := w.Write(raw); err != nil {
			return err
		}
	}
	_, err = w.Write(appendTail(nil))
	return err
}

// appendHead appends the envelope up to the raw message, which is size bytes long.
func appendHead(b []byte, head Head, size int) []byte {
	typeMeta := appendString(nil, typeMetaAPIVersion, head.APIVersion)
	typeMeta = appendString(typeMeta, typeMetaKind, head.Kind)
	b = append(b, magic...)
	b = protowire.AppendTag(b, unknownTypeMeta, protowire.BytesType)
	b = protowire.AppendBytes(b, typeMeta)
	b = protowire.AppendTag(b, unknownRaw, protowire.BytesType)
	return protowire.AppendVarint(b, uint64(size))
}

// appendTail appends what Kubernetes writes behind the raw message: two empty strings.
func appendTail(b []byte) []byte {
	return appendString(appendString(b, unknownEncoding, ""), unknownContentType, "")
}

func appendString(b []byte, number protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), s)
}

func sizeBytes(number protowire.Number, n int) int {
	return protowire.SizeTag(number) + protowire.SizeBytes(n)
}

// JSONTable writes a meta.k8s.io Table of n rows; row returns the i-th as JSON.
func JSONTable(w io.Writer, head Head, columns []byte, n int, row func(i int) ([]byte, error)) error {
	return jsonArray(w, head, `,"columnDefinitions":`+string(columns)+`,"rows":[`, n, row)
}
