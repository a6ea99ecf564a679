package openapi_test

import (
	"runtime"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	k8sruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/yaml"

	"wherry/orchestrator/apiserver/openapi"
	"wherry/orchestrator/resource"
)

func TestEveryKindHasTypes(t *testing.T) {
	tc := openapi.TypeConverter(resource.New().Scheme())
	for _, k := range resource.New().All() {
		obj := k.New()
		obj.SetName("a")
		obj.SetLabels(map[string]string{"a": "b"})
		obj.GetObjectKind().SetGroupVersionKind(k.GroupVersionKind)
		v, err := tc.ObjectToTyped(obj)
		if err != nil {
			t.Errorf("%s: %v", k.Kind, err)
			continue
		}
		back, err := tc.TypedToObject(v)
		if err != nil {
			t.Errorf("%s: %v", k.Kind, err)
			continue
		}
		if u := back.(*unstructured.Unstructured); u.GetName() != "a" || u.GetLabels()["a"] != "b" {
			t.Errorf("%s: %v", k.Kind, u)
		}
		u := &unstructured.Unstructured{Object: map[string]any{"nothing": "x"}}
		u.SetGroupVersionKind(k.GroupVersionKind)
		if _, err := tc.ObjectToTyped(u); err == nil || !strings.Contains(err.Error(), ".nothing: field not declared in schema") {
			t.Errorf("%s with an unknown field: %v", k.Kind, err)
		}
	}
}

func parse(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}

// Two managers own different ports of one service: a list that is a map by port and protocol.
func TestApplyMergesByKey(t *testing.T) {
	reg := resource.New()
	scheme := reg.Scheme()
	kind, _ := reg.For(&corev1.Service{})
	m, err := managedfields.NewDefaultFieldManager(openapi.TypeConverter(scheme), scheme, scheme, scheme, kind.GroupVersionKind, kind.GroupVersion(), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	apply := func(live k8sruntime.Object, manager, port string, target int, force bool) (*corev1.Service, error) {
		t.Helper()
		u := parse(t, `{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: `+port+`, protocol: TCP}]}}`)
		ports := u.Object["spec"].(map[string]any)["ports"].([]any)
		ports[0].(map[string]any)["targetPort"] = int64(target)
		obj, err := m.Apply(live, u, manager, force)
		if err != nil {
			return nil, err
		}
		return obj.(*corev1.Service), nil
	}
	empty := &corev1.Service{}
	empty.SetGroupVersionKind(kind.GroupVersionKind)
	one, err := apply(empty, "first", "80", 8080, false)
	if err != nil {
		t.Fatal(err)
	}
	one.SetGroupVersionKind(kind.GroupVersionKind)
	two, err := apply(one, "second", "81", 8081, false)
	if err != nil {
		t.Fatal(err)
	}
	if len(two.Spec.Ports) != 2 || len(two.ManagedFields) != 2 {
		t.Fatalf("%d ports, %d managers", len(two.Spec.Ports), len(two.ManagedFields))
	}
	two.SetGroupVersionKind(kind.GroupVersionKind)
	if _, err := apply(two, "second", "80", 9090, false); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `.spec.ports[port=80,protocol="TCP"].targetPort`) {
		t.Errorf("taking another's field: %v", err)
	}
	three, err := apply(two, "second", "80", 9090, true)
	if err != nil {
		t.Fatal(err)
	}
	if p := three.Spec.Ports; len(p) != 1 || p[0].TargetPort.IntValue() != 9090 {
		t.Errorf("forced: %v", p)
	}
}

// BenchmarkTypes reports what the types cost: the time to read them and the memory that they keep.
func BenchmarkTypes(b *testing.B) {
	scheme := resource.New().Scheme()
	pod := &corev1.Pod{}
	pod.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Pod"))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	b.ResetTimer()
	var keep []managedfields.TypeConverter
	for b.Loop() {
		tc := openapi.TypeConverter(scheme)
		if _, err := tc.ObjectToTyped(pod); err != nil {
			b.Fatal(err)
		}
		keep = append(keep, tc)
	}
	b.StopTimer()
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(len(keep)), "kept-B/op")
	runtime.KeepAlive(keep)
}
