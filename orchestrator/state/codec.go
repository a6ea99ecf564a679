package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"wherry/orchestrator/resource"
	"wherry/orchestrator/store"
)

// magic begins every Kubernetes protobuf message; behind it stands a runtime.Unknown,
// whose field 2 is the object's own message
// (k8s.io/apimachinery/pkg/runtime/serializer/protobuf).
var magic = []byte("k8s\x00")

// Fields of the messages that are cut open and put together here.
const (
	unknownTypeMeta     protowire.Number = 1
	unknownRaw          protowire.Number = 2
	objectMetadata      protowire.Number = 1 // of every object
	metaResourceVersion protowire.Number = 6 // of ObjectMeta
)

// message is what generated Kubernetes types have.
type message interface {
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

// codec turns the objects of one kind into stored bytes and back.
type codec struct {
	gvk schema.GroupVersionKind
	new func() Object
	typ reflect.Type // what new points at
	// decoded completes what was read; nil: it is complete.
	decoded func(Object)
	// mixed leaves objects the apiVersion that they have.
	mixed bool
}

func newCodec(k *resource.Kind) codec {
	return codec{gvk: k.GroupVersionKind, new: k.New, typ: reflect.TypeOf(k.New()).Elem(), decoded: k.Decoded, mixed: k.Custom != nil && k.Custom.Mixed}
}

// encode sets apiVersion and kind of obj, clears its resourceVersion, and returns what to
// store.
func (c codec) encode(obj Object) ([]byte, error) {
	if !c.mixed {
		obj.GetObjectKind().SetGroupVersionKind(c.gvk)
	}
	obj.SetResourceVersion("")
	m, ok := obj.(message)
	if !ok {
		return encodeJSON(obj)
	}
	raw, err := m.Marshal()
	if err != nil {
		return nil, err
	}
	apiVersion, kind := c.gvk.ToAPIVersionAndKind()
	unknown := runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: apiVersion, Kind: kind}, Raw: raw}
	body, err := unknown.Marshal()
	if err != nil {
		return nil, err
	}
	return append(magic[:len(magic):len(magic)], body...), nil
}

// decode reads stored bytes; resourceVersion is not in them.
func (c codec) decode(data []byte) (Object, error) {
	obj := c.new()
	if body, ok := bytes.CutPrefix(data, magic); ok {
		m, ok := obj.(message)
		if !ok {
			return nil, fmt.Errorf("%s has no protobuf", c.gvk)
		}
		_, raw, err := openUnknown(body)
		if err != nil {
			return nil, err
		}
		if err := m.Unmarshal(raw); err != nil {
			return nil, err
		}
	} else if err := json.Unmarshal(data, obj); err != nil {
		return nil, err
	}
	if !c.mixed {
		obj.GetObjectKind().SetGroupVersionKind(c.gvk)
	}
	if c.decoded != nil {
		c.decoded(obj)
	}
	return obj, nil
}

// encodeJSON is the object in one line.
func encodeJSON(obj Object) ([]byte, error) {
	return json.Marshal(obj)
}

var errEnvelope = errors.New("not a Kubernetes protobuf message")

// openUnknown finds type and message in a runtime.Unknown without copying them.
func openUnknown(body []byte) (typeMeta, raw []byte, err error) {
	for len(body) > 0 {
		num, typ, n := protowire.ConsumeTag(body)
		if n < 0 || typ != protowire.BytesType {
			return nil, nil, errEnvelope
		}
		value, m := protowire.ConsumeBytes(body[n:])
		if m < 0 {
			return nil, nil, errEnvelope
		}
		switch num {
		case unknownTypeMeta:
			typeMeta = value
		case unknownRaw:
			raw = value
		}
		body = body[n+m:]
	}
	return typeMeta, raw, nil
}

// addRevision appends metadata with nothing but the resourceVersion to the message in
// data: decoders merge a message field that comes twice
// (https://protobuf.dev/programming-guides/encoding/#last-one-wins). It returns the
// message, in its envelope if asked; nil if data is not protobuf.
func addRevision(data []byte, revision store.Revision, envelope bool) []byte {
	body, ok := bytes.CutPrefix(data, magic)
	if !ok {
		return nil
	}
	typeMeta, raw, err := openUnknown(body)
	if err != nil {
		panic("state: an entry was made of " + err.Error())
	}
	var meta, tail [32]byte
	m := protowire.AppendTag(meta[:0], metaResourceVersion, protowire.BytesType)
	m = protowire.AppendString(m, formatRevision(revision))
	t := protowire.AppendTag(tail[:0], objectMetadata, protowire.BytesType)
	t = protowire.AppendBytes(t, m)

	out := make([]byte, 0, len(data)+len(t)+8)
	if envelope {
		out = append(out, magic...)
		out = protowire.AppendTag(out, unknownTypeMeta, protowire.BytesType)
		out = protowire.AppendBytes(out, typeMeta)
		out = protowire.AppendTag(out, unknownRaw, protowire.BytesType)
		out = protowire.AppendVarint(out, uint64(len(raw)+len(t)))
	}
	out = append(out, raw...)
	return append(out, t...)
}

func formatRevision(r store.Revision) string { return strconv.FormatUint(r, 10) }
