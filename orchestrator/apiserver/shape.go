package apiserver

import (
	"crypto/sha256"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/resource"
)

// shape tells apart new objects whose creators own different fields.
type shape [sha256.Size]byte

// shapeOf is the shape of a new object: everything but what nobody owns. It is not known of objects that come
// with owners, and of types without protobuf.
func shapeOf(kind *resource.Kind, obj resource.Object, manager string) (shape, bool) {
	m, ok := obj.(interface{ Marshal() ([]byte, error) })
	if !ok || obj.GetManagedFields() != nil {
		return shape{}, false
	}
	name, namespace, uid, created := obj.GetName(), obj.GetNamespace(), obj.GetUID(), obj.GetCreationTimestamp()
	obj.SetName("")
	obj.SetNamespace("")
	obj.SetUID("")
	obj.SetCreationTimestamp(metav1.Time{})
	data, err := m.Marshal()
	obj.SetName(name)
	obj.SetNamespace(namespace)
	obj.SetUID(uid)
	obj.SetCreationTimestamp(created)
	if err != nil {
		return shape{}, false
	}
	h := sha256.New()
	for _, part := range []string{kind.String(), manager} {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	h.Write(data)
	return shape(h.Sum(nil)), true
}

// maxShapes bounds each generation of shapes; a shape's fields take about 2 KB.
const maxShapes = 128

// shapes remember which fields the creator of an object of a shape owns. What has not been asked for while
// others filled a generation is forgotten.
type shapes struct {
	mu       sync.Mutex
	new, old map[shape][]byte
}

func (s *shapes) get(of shape) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	fields, ok := s.new[of]
	if !ok {
		if fields, ok = s.old[of]; ok {
			s.add(of, fields)
		}
	}
	return fields
}

func (s *shapes) put(of shape, fields []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(of, fields)
}

func (s *shapes) add(of shape, fields []byte) {
	if s.new == nil || len(s.new) >= maxShapes {
		s.old, s.new = s.new, make(map[shape][]byte, maxShapes)
	}
	s.new[of] = fields
}
