package nodeagent

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"wherry/proto/nodelink"
)

func change(t *testing.T, kind nodelink.Kind, o interface {
	metav1.Object
	Marshal() ([]byte, error)
}) *nodelink.Change {
	t.Helper()
	data, err := o.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return &nodelink.Change{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName(), Uid: string(o.GetUID()), Object: data}
}

// gone is the change that removes what c made.
func gone(c *nodelink.Change) *nodelink.Change {
	return &nodelink.Change{Kind: c.Kind, Namespace: c.Namespace, Name: c.Name, Uid: c.Uid}
}

func meta(name, uid string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(uid)}
}

func uids(pods []*corev1.Pod) (all []string) {
	for _, p := range pods {
		all = append(all, string(p.UID))
	}
	return all
}

func TestWorldPods(t *testing.T) {
	first := change(t, nodelink.Kind_KIND_POD, &corev1.Pod{ObjectMeta: meta("web", "u1")})
	second := change(t, nodelink.Kind_KIND_POD, &corev1.Pod{ObjectMeta: meta("web", "u2")})
	tests := []struct {
		name       string
		steps      [][]*nodelink.Change
		pods, gone []string // of the last step
	}{
		{"new", [][]*nodelink.Change{{first}}, []string{"u1"}, nil},
		{"gone", [][]*nodelink.Change{{first}, {gone(first)}}, nil, []string{"u1"}},
		{"gone twice", [][]*nodelink.Change{{first}, {gone(first)}, {gone(first)}}, nil, nil},
		{"replaced", [][]*nodelink.Change{{first}, {second}}, []string{"u2"}, []string{"u1"}},
		{"replaced, said in both orders", [][]*nodelink.Change{{first}, {second, gone(first)}}, []string{"u2"}, []string{"u1"}},
		{"gone and new", [][]*nodelink.Change{{first}, {gone(first), second}}, []string{"u2"}, []string{"u1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			var n news
			for _, step := range tt.steps {
				var errs []error
				if n, errs = w.apply(step); errs != nil {
					t.Fatal(errs)
				}
			}
			if !slices.Equal(uids(n.pods), tt.pods) || !slices.Equal(n.gone, tt.gone) {
				t.Errorf("pods %q, gone %q", uids(n.pods), n.gone)
			}
		})
	}
}

func TestWorldObjects(t *testing.T) {
	w := newWorld()
	m := change(t, nodelink.Kind_KIND_CONFIG_MAP, &corev1.ConfigMap{ObjectMeta: meta("m", "u1")})
	n, errs := w.apply([]*nodelink.Change{
		m,
		change(t, nodelink.Kind_KIND_SECRET, &corev1.Secret{ObjectMeta: meta("s", "u2")}),
		change(t, nodelink.Kind_KIND_SERVICE, &corev1.Service{ObjectMeta: meta("v", "u3")}),
		{Kind: nodelink.Kind_KIND_POD, Namespace: "default", Name: "broken", Object: []byte("\xff")},
		{Kind: nodelink.Kind(99), Name: "from the future", Object: []byte("x")},
	})
	if len(errs) != 1 {
		t.Errorf("errors: %v", errs)
	}
	if !n.namespaces["default"] || !n.routes || n.node || len(n.pods) != 0 {
		t.Errorf("news: %+v", n)
	}
	if w.ConfigMap("default", "m") == nil || w.Secret("default", "s") == nil || len(w.Services("default")) != 1 || w.ConfigMap("other", "m") != nil {
		t.Error("objects are not found")
	}
	if _, errs := w.apply([]*nodelink.Change{gone(m)}); errs != nil || w.ConfigMap("default", "m") != nil {
		t.Errorf("it is still there: %v", errs)
	}
}

func TestHostPortsBecomeRoutes(t *testing.T) {
	w := newWorld()
	p := &corev1.Pod{ObjectMeta: meta("web", "u1")}
	p.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{ContainerPort: 80, HostPort: 8080}}}}
	if _, errs := w.apply([]*nodelink.Change{change(t, nodelink.Kind_KIND_POD, p)}); errs != nil {
		t.Fatal(errs)
	}
	for ip, want := range map[string]int{"": 0, "10.42.0.5": 1} {
		in := w.input("n1", "cluster.local", func(string) *corev1.PodStatus { return &corev1.PodStatus{PodIP: ip} })
		if len(in.Pods) != want || want == 1 && in.Pods[0].Status.PodIP != ip {
			t.Errorf("with address %q: %v", ip, in.Pods)
		}
	}
}
