package clients_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/util/retry"
)

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

func TestClientGo(t *testing.T) {
	config := cluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	typed, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	meta, err := metadata.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("typed", func(t *testing.T) { typedClient(ctx, t, typed) })
	t.Run("dynamic", func(t *testing.T) { dynamicClient(ctx, t, dyn) })
	t.Run("informers", func(t *testing.T) { informersSee(ctx, t, typed, dyn) })
	t.Run("leader election", func(t *testing.T) { leaders(ctx, t, typed) })
	t.Run("discovery", func(t *testing.T) { discovered(t, typed) })
	t.Run("metadata", func(t *testing.T) {
		list, err := meta.Resource(configMaps).Namespace("kube-system").List(ctx, metav1.ListOptions{})
		if err != nil || len(list.Items) == 0 || list.Items[0].Kind != "PartialObjectMetadata" && list.Items[0].Kind != "" {
			t.Errorf("got %+v, %v", list, err)
		}
	})
}

// typedClient writes in every way that the client knows, with the conflicts that there are to be.
func typedClient(ctx context.Context, t *testing.T, c kubernetes.Interface) {
	maps := c.CoreV1().ConfigMaps("default")
	made, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "typed-"}, Data: map[string]string{"a": "1"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stale := made.DeepCopy()
	made.Data["b"] = "2"
	if _, err = maps.Update(ctx, made, metav1.UpdateOptions{}); err != nil {
		t.Error(err)
	}
	if _, err = maps.Update(ctx, stale, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("an update of an old version: %v", err)
	}
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		live, err := maps.Get(ctx, made.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		live.Data["c"] = "3"
		_, err = maps.Update(ctx, live, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		t.Error(err)
	}
	for kind, patch := range map[types.PatchType]string{
		types.JSONPatchType:           `[{"op":"test","path":"/data/a","value":"1"},{"op":"add","path":"/data/d","value":"4"}]`,
		types.MergePatchType:          `{"data":{"e":"5"}}`,
		types.StrategicMergePatchType: `{"data":{"f":"6","c":null}}`,
	} {
		if _, err := maps.Patch(ctx, made.Name, kind, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
	apply := applycorev1.ConfigMap(made.Name, "default").WithData(map[string]string{"a": "mine"})
	if _, err := maps.Apply(ctx, apply, metav1.ApplyOptions{FieldManager: "me"}); !apierrors.IsConflict(err) {
		t.Errorf("an apply over somebody else's field: %v", err)
	}
	got, err := maps.Apply(ctx, apply, metav1.ApplyOptions{FieldManager: "me", Force: true})
	if err != nil {
		t.Fatal(err)
	}
	if want := "map[a:mine b:2 d:4 e:5 f:6]"; fmt.Sprint(got.Data) != want {
		t.Errorf("got %v, want %s", got.Data, want)
	}
	if err := maps.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{FieldSelector: "metadata.name=" + made.Name}); err != nil {
		t.Error(err)
	}
	if _, err := maps.Get(ctx, made.Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("after its deletion: %v", err)
	}
}

// dynamicClient defines a kind and uses it.
func dynamicClient(ctx context.Context, t *testing.T, c dynamic.Interface) {
	definitions := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	crd := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": "boats.example.com"},
		"spec": map[string]any{
			"group": "example.com", "scope": "Namespaced",
			"names": map[string]any{"plural": "boats", "singular": "boat", "kind": "Boat"},
			"versions": []any{map[string]any{
				"name": "v1", "served": true, "storage": true, "subresources": map[string]any{"status": map[string]any{}},
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "properties": map[string]any{
					"spec":   map[string]any{"type": "object", "properties": map[string]any{"seats": map[string]any{"type": "integer", "minimum": int64(1)}}},
					"status": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true},
				}}},
			}},
		},
	}}
	if _, err := c.Resource(definitions).Create(ctx, crd, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	boats := c.Resource(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "boats"}).Namespace("default")
	boat := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "example.com/v1", "kind": "Boat", "metadata": map[string]any{"name": "b"}, "spec": map[string]any{"seats": int64(0)},
	}}
	var err error
	for range 100 { // it is served a moment after it is defined
		if _, err = boats.Create(ctx, boat, metav1.CreateOptions{}); !apierrors.IsNotFound(err) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if !apierrors.IsInvalid(err) {
		t.Errorf("a boat without seats: %v", err)
	}
	boat.Object["spec"].(map[string]any)["seats"] = int64(4)
	made, err := boats.Create(ctx, boat, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	made.Object["status"] = map[string]any{"afloat": true}
	if made, err = boats.UpdateStatus(ctx, made, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if afloat, _, _ := unstructured.NestedBool(made.Object, "status", "afloat"); !afloat || made.GetGeneration() != 1 {
		t.Errorf("got %v", made.Object)
	}
	if err := boats.Delete(ctx, "b", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}

// informersSee everything: what is there, what comes, changes and goes.
func informersSee(ctx context.Context, t *testing.T, c kubernetes.Interface, d dynamic.Interface) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	typed := informers.NewSharedInformerFactoryWithOptions(c, 0, informers.WithNamespace("default"))
	untyped := dynamicinformer.NewFilteredDynamicSharedInformerFactory(d, 0, "default", nil)
	lister := typed.Core().V1().ConfigMaps().Lister()
	seen := make(chan string, 100)
	tell := func(verb string) func(any) {
		return func(o any) {
			if m, ok := o.(metav1.Object); ok && m.GetLabels()["seen"] == "yes" {
				seen <- verb + " " + m.GetName()
			}
		}
	}
	for _, informer := range []cache.SharedIndexInformer{typed.Core().V1().ConfigMaps().Informer(), untyped.ForResource(configMaps).Informer()} {
		_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: tell("add"), UpdateFunc: func(_, o any) { tell("update")(o) }, DeleteFunc: tell("delete"),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	typed.Start(ctx.Done())
	untyped.Start(ctx.Done())
	defer typed.Shutdown()
	defer untyped.Shutdown()
	defer stop()
	typed.WaitForCacheSync(ctx.Done())
	untyped.WaitForCacheSync(ctx.Done())

	maps := c.CoreV1().ConfigMaps("default")
	expect := func(what string) {
		t.Helper()
		for range 2 {
			select {
			case got := <-seen:
				if got != what {
					t.Errorf("seen %q, want %q", got, what)
				}
			case <-ctx.Done():
				t.Fatalf("nobody has seen %q", what)
			}
		}
	}
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "watched", Labels: map[string]string{"seen": "yes"}}}
	made, err := maps.Create(ctx, object, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	expect("add watched")
	if found, err := lister.ConfigMaps("default").List(labels.SelectorFromSet(made.Labels)); err != nil || len(found) != 1 || found[0].UID != made.UID {
		t.Errorf("the lister has %v, %v", found, err)
	}
	made.Data = map[string]string{"a": "b"}
	if _, err := maps.Update(ctx, made, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	expect("update watched")
	if err := maps.Delete(ctx, "watched", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	expect("delete watched")
}

// leaders take over from each other through a Lease.
func leaders(ctx context.Context, t *testing.T, c kubernetes.Interface) {
	led := make(chan string, 10)
	candidate := func(name string) context.CancelFunc {
		ctx, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
				Lock: &resourcelock.LeaseLock{
					LeaseMeta: metav1.ObjectMeta{Namespace: "default", Name: "leader"}, Client: c.CoordinationV1(),
					LockConfig: resourcelock.ResourceLockConfig{Identity: name},
				},
				ReleaseOnCancel: true, LeaseDuration: 5 * time.Second, RenewDeadline: 3 * time.Second, RetryPeriod: 200 * time.Millisecond,
				Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: func(context.Context) { led <- name }, OnStoppedLeading: func() {}},
			})
		}()
		return func() { stop(); <-done }
	}
	expect := func(name string) {
		t.Helper()
		select {
		case got := <-led:
			if got != name {
				t.Errorf("%s leads, want %s", got, name)
			}
		case <-ctx.Done():
			t.Fatalf("%s does not lead", name)
		}
	}
	endFirst := candidate("first")
	expect("first")
	endSecond := candidate("second")
	endFirst()
	expect("second")
	endSecond()
}

func discovered(t *testing.T, c kubernetes.Interface) {
	_, all, err := c.Discovery().ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(l *metav1.APIResourceList) bool { return l.GroupVersion == "apps/v1" })
	if i < 0 || !slices.ContainsFunc(all[i].APIResources, func(r metav1.APIResource) bool { return r.Name == "deployments/scale" && r.Kind == "Scale" }) {
		t.Errorf("apps/v1 is %+v", all)
	}
	if v, err := c.Discovery().ServerVersion(); err != nil || v.Major != "1" {
		t.Errorf("the version is %v, %v", v, err)
	}
	if _, err := c.Discovery().OpenAPISchema(); err != nil {
		t.Error(err)
	}
}
