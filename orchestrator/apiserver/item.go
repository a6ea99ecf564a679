package apiserver

import (
	"encoding/json"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"

	"wherry/orchestrator/apiserver/media"
	"wherry/orchestrator/apiserver/wire"
	"wherry/orchestrator/resource"
)

// item is an object that can be shown in any form. *state.Entry is one, and keeps what it
// was encoded to.
type item interface {
	Object() resource.Object
	JSON() []byte
	Proto() []byte
	Message() []byte // Proto without the envelope
}

// made is an item that no entry stands behind: the answer to a write, a bookmark, an
// object as it was deleted. Each form is encoded once.
type made struct {
	object resource.Object
	json   func() []byte
	proto  func() []byte
}

func (m *made) Object() resource.Object { return m.object }
func (m *made) JSON() []byte            { return m.json() }
func (m *made) Proto() []byte           { return m.proto() }
func (m *made) Message() []byte         { return must(wire.Raw(m.proto())) }

// item makes obj showable; obj is not modified.
func (s *Server) item(kind *resource.Kind, obj resource.Object) *made {
	obj = typed(obj, kind.GroupVersionKind)
	return &made{
		object: obj,
		json: sync.OnceValue(func() []byte {
			return must(json.Marshal(obj))
		}),
		proto: sync.OnceValue(func() []byte {
			return must(runtime.Encode(s.codec.kinds[media.Protobuf].Serializer, obj))
		}),
	}
}

// must is for encodings of objects that were decoded before: they cannot fail, and if they
// do, the request ends with status 500.
func must(b []byte, err error) []byte {
	if err != nil {
		panic(fmt.Errorf("encoding an object: %w", err))
	}
	return b
}
