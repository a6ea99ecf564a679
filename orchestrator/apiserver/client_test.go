package apiserver_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/cache"
)

func newConfigMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}}, Data: map[string]string{"a": "1"}}
}

func newPod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "hello:v1"}}},
	}
}

func newDeployment(name string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	replicas := int32(3)
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: newPod("").Spec},
		},
	}
}

// The typed client speaks protobuf both ways.
func TestTypedClient(t *testing.T) {
	c := start(t)
	ctx := t.Context()
	maps := c.clientset().CoreV1().ConfigMaps("default")
	created, err := maps.Create(ctx, newConfigMap("a"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if created.UID == "" || created.Namespace != "default" || len(created.ManagedFields) != 1 || created.ManagedFields[0].Manager != "clienttest" {
		t.Errorf("created %+v", created.ObjectMeta)
	}
	created.Data["b"] = "2"
	updated, err := maps.Update(ctx, created, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := maps.Update(ctx, created, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("an update of an old version: %v", err)
	}
	stranger := updated.DeepCopy()
	stranger.UID = "other"
	if _, err := maps.Update(ctx, stranger, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("an update of another uid: %v", err)
	}
	if _, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "gen-"}}, metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
	list, err := maps.List(ctx, metav1.ListOptions{LabelSelector: "app=a"})
	if err != nil || len(list.Items) != 1 || list.Items[0].Data["b"] != "2" || list.ResourceVersion == "" {
		t.Errorf("list: %+v, %v", list, err)
	}
	wrong := "wrong"
	if err := maps.Delete(ctx, "a", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &wrong}}); !apierrors.IsConflict(err) {
		t.Errorf("deleting another version: %v", err)
	}
	if err := maps.Delete(ctx, "a", metav1.DeleteOptions{DryRun: []string{"All"}}); err != nil {
		t.Error(err)
	}
	if err := maps.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	if list, err := maps.List(ctx, metav1.ListOptions{}); err != nil || len(list.Items) != 0 {
		t.Errorf("after deletion: %+v, %v", list, err)
	}
}

func TestPagesAreOneSnapshot(t *testing.T) {
	c := start(t)
	ctx := t.Context()
	maps := c.clientset().CoreV1().ConfigMaps("default")
	for i := range 5 {
		if _, err := maps.Create(ctx, newConfigMap(fmt.Sprint("m", i)), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	page, err := maps.List(ctx, metav1.ListOptions{Limit: 2})
	if err != nil || len(page.Items) != 2 || page.RemainingItemCount == nil || *page.RemainingItemCount != 3 {
		t.Fatalf("first page: %+v, %v", page, err)
	}
	if err := maps.Delete(ctx, "m3", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	names := []string{page.Items[0].Name, page.Items[1].Name}
	for page.Continue != "" {
		if page, err = maps.List(ctx, metav1.ListOptions{Limit: 2, Continue: page.Continue}); err != nil {
			t.Fatal(err)
		}
		for _, item := range page.Items {
			names = append(names, item.Name)
		}
	}
	if fmt.Sprint(names) != "[m0 m1 m2 m3 m4]" {
		t.Errorf("pages: %v", names)
	}
}

func TestWatchSeesWhatIsSelected(t *testing.T) {
	c := start(t)
	ctx := t.Context()
	maps := c.clientset().CoreV1().ConfigMaps("default")
	if _, err := maps.Create(ctx, newConfigMap("before"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w, err := maps.Watch(ctx, metav1.ListOptions{LabelSelector: "app"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	expect := func(kind watch.EventType, name string) *corev1.ConfigMap {
		t.Helper()
		select {
		case e := <-w.ResultChan():
			if cm, ok := e.Object.(*corev1.ConfigMap); ok && e.Type == kind && cm.Name == name {
				return cm
			}
			t.Fatalf("got %v %+v, want %v %s", e.Type, e.Object, kind, name)
		case <-time.After(5 * time.Second):
			t.Fatalf("no event; want %v %s", kind, name)
		}
		return nil
	}
	expect(watch.Added, "before")
	made, err := maps.Create(ctx, newConfigMap("x"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	expect(watch.Added, "x")
	made.Labels = nil
	changed, err := maps.Update(ctx, made, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if gone := expect(watch.Deleted, "x"); gone.ResourceVersion != changed.ResourceVersion || gone.Labels["app"] != "x" {
		t.Errorf("what left the selection is shown as %+v", gone.ObjectMeta)
	}
	if err := maps.Delete(ctx, "before", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if gone := expect(watch.Deleted, "before"); gone.ResourceVersion <= changed.ResourceVersion {
		t.Errorf("deleted at %s, the change before was %s", gone.ResourceVersion, changed.ResourceVersion)
	}
}

// Informers list by watching: initial events, then a bookmark that says that these were all.
func TestInformer(t *testing.T) {
	c := start(t)
	client := c.clientset()
	ctx, cancel := context.WithCancel(t.Context())
	for i := range 3 {
		if _, err := client.CoreV1().ConfigMaps("default").Create(ctx, newConfigMap(fmt.Sprint("m", i)), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	informer := factory.Core().V1().ConfigMaps().Informer()
	added := make(chan string, 10)
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(obj any) { added <- obj.(*corev1.ConfigMap).Name }}); err != nil {
		t.Fatal(err)
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	defer cancel()
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		t.Fatal("never synced")
	}
	if n := len(informer.GetStore().List()); n != 3 {
		t.Errorf("%d objects after the first sync", n)
	}
	if _, err := client.CoreV1().ConfigMaps("default").Create(ctx, newConfigMap("late"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for name := range added {
		if name == "late" {
			break
		}
	}
}

func TestApplyOwnsFields(t *testing.T) {
	c := start(t)
	ctx := t.Context()
	maps := c.clientset().CoreV1().ConfigMaps("default")
	one := coreapply.ConfigMap("a", "default").WithData(map[string]string{"k": "1", "own": "1"})
	if _, err := maps.Apply(ctx, one, metav1.ApplyOptions{FieldManager: "one"}); err != nil {
		t.Fatal(err)
	}
	two := coreapply.ConfigMap("a", "default").WithData(map[string]string{"k": "2"})
	_, err := maps.Apply(ctx, two, metav1.ApplyOptions{FieldManager: "two"})
	if !apierrors.IsConflict(err) || len(err.(apierrors.APIStatus).Status().Details.Causes) != 1 {
		t.Fatalf("no conflict over k: %v", err)
	}
	if want := `Apply failed with 1 conflict: conflict with "one": .data.k`; err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
	if _, err := maps.Apply(ctx, two, metav1.ApplyOptions{FieldManager: "two", Force: true}); err != nil {
		t.Fatal(err)
	}
	got, err := maps.Apply(ctx, coreapply.ConfigMap("a", "default"), metav1.ApplyOptions{FieldManager: "one"})
	if err != nil || got.Data["k"] != "2" || len(got.Data) != 1 {
		t.Errorf("what one gave up stays, what it no longer wants goes: %v, %v", got.Data, err)
	}
	again, err := maps.Apply(ctx, two, metav1.ApplyOptions{FieldManager: "two"})
	if err != nil || again.ResourceVersion != got.ResourceVersion {
		t.Errorf("an apply without effect wrote revision %s after %s, %v", again.ResourceVersion, got.ResourceVersion, err)
	}
}

func TestStatusAndScale(t *testing.T) {
	c := start(t)
	ctx := t.Context()
	deployments := c.clientset().AppsV1().Deployments("default")
	made, err := deployments.Create(ctx, newDeployment("web"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	made.Status.Replicas = 2
	made.Spec.Paused = true
	made, err = deployments.UpdateStatus(ctx, made, metav1.UpdateOptions{FieldManager: "controller"})
	if err != nil || made.Spec.Paused || made.Status.Replicas != 2 {
		t.Fatalf("status door: %+v, %v", made, err)
	}
	last := made.ManagedFields[len(made.ManagedFields)-1]
	if last.Subresource != "status" || last.Manager != "controller" {
		t.Errorf("managed fields of the status: %+v", made.ManagedFields)
	}
	scale, err := deployments.GetScale(ctx, "web", metav1.GetOptions{})
	if err != nil || scale.Spec.Replicas != 3 || scale.Status.Replicas != 2 || scale.Status.Selector != "app=web" {
		t.Fatalf("scale: %+v, %v", scale, err)
	}
	scale.Spec.Replicas = 5
	if scale, err = deployments.UpdateScale(ctx, "web", scale, metav1.UpdateOptions{}); err != nil || scale.Spec.Replicas != 5 {
		t.Fatalf("scaled: %+v, %v", scale, err)
	}
	// The answer is a Scale, which the typed Deployment client drops.
	if _, err := deployments.Patch(ctx, "web", types.MergePatchType, []byte(`{"spec":{"replicas":7}}`), metav1.PatchOptions{FieldManager: "scaler"}, "scale"); err != nil {
		t.Fatal(err)
	}
	got, err := deployments.Get(ctx, "web", metav1.GetOptions{})
	if err != nil || *got.Spec.Replicas != 7 || got.Generation != 3 {
		t.Errorf("replicas %d, generation %d, %v", *got.Spec.Replicas, got.Generation, err)
	}
	owners := map[string]bool{}
	for _, m := range got.ManagedFields {
		owners[m.Manager+"/"+m.Subresource] = true
	}
	if !owners["scaler/scale"] || owners["clienttest/scale"] {
		t.Errorf("who owns the replicas now: %v", owners)
	}
	for _, replicas := range []int32{-1} {
		_, err := deployments.UpdateScale(ctx, "web", &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: autoscalingv1.ScaleSpec{Replicas: replicas}}, metav1.UpdateOptions{})
		if !apierrors.IsInvalid(err) {
			t.Errorf("%d replicas: %v", replicas, err)
		}
	}
}

func TestBindAndEvict(t *testing.T) {
	c := start(t)
	ctx := t.Context()
	pods := c.clientset().CoreV1().Pods("default")
	made, err := pods.Create(ctx, newPod("p"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if made.Spec.ServiceAccountName != "default" || len(made.Spec.Tolerations) != 2 || *made.Spec.Priority != 0 {
		t.Errorf("admission left the pod at %+v", made.Spec)
	}
	binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n1"}}
	if err := pods.Bind(ctx, binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := pods.Bind(ctx, binding, metav1.CreateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("bound twice: %v", err)
	}
	list, err := pods.List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=n1,status.phase!=Failed"})
	if err != nil || len(list.Items) != 1 {
		t.Errorf("pods of the node: %+v, %v", list, err)
	}
	if err := pods.EvictV1(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "p"}}); err != nil {
		t.Fatal(err)
	}
	going, err := pods.Get(ctx, "p", metav1.GetOptions{})
	if err != nil || going.DeletionTimestamp == nil || *going.DeletionGracePeriodSeconds != 30 {
		t.Errorf("an evicted pod on a node goes gracefully: %+v, %v", going, err)
	}
	now := int64(0)
	if err := pods.Delete(ctx, "p", metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		t.Fatal(err)
	}
	if _, err := pods.Get(ctx, "p", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("after a forced deletion: %v", err)
	}
}

func TestReviews(t *testing.T) {
	c := start(t)
	client := c.clientset()
	ctx := t.Context()
	who, err := client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil || who.Status.UserInfo.Username != "admin" {
		t.Errorf("whoami: %+v, %v", who, err)
	}
	may, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "get", Resource: "pods"}}}, metav1.CreateOptions{})
	if err != nil || !may.Status.Allowed {
		t.Errorf("can-i: %+v, %v", may, err)
	}
	rules, err := client.AuthorizationV1().SelfSubjectRulesReviews().Create(ctx, &authorizationv1.SelfSubjectRulesReview{
		Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "default"}}, metav1.CreateOptions{})
	if err != nil || len(rules.Status.ResourceRules) != 1 || len(rules.Status.NonResourceRules) != 1 {
		t.Errorf("can-i --list: %+v, %v", rules, err)
	}
}

// Clients that know no types find everything by discovery.
func TestDynamicClientAndMapper(t *testing.T) {
	c := start(t)
	config := c.serve()
	ctx := t.Context()
	found, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	mapper := restmapper.NewShortcutExpander(restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(found)), found, nil)
	gvr, err := mapper.ResourceFor(schema.GroupVersionResource{Resource: "deploy"})
	if err != nil || gvr.Group != "apps" {
		t.Fatal(gvr, err)
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	obj := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "u"}}}
	maps := client.Resource(corev1.SchemeGroupVersion.WithResource("configmaps")).Namespace("default")
	if _, err := maps.Create(ctx, obj, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	list, err := maps.List(ctx, metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 || list.Items[0].GetKind() != "ConfigMap" {
		t.Errorf("list: %+v, %v", list, err)
	}
	partial, err := metadata.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	metas, err := partial.Resource(corev1.SchemeGroupVersion.WithResource("configmaps")).List(ctx, metav1.ListOptions{})
	if err != nil || len(metas.Items) != 1 || metas.Items[0].Name != "u" {
		t.Errorf("metadata: %+v, %v", metas, err)
	}
	version, err := found.ServerVersion()
	if err != nil || version.GitVersion != "v1.36.3+wherry" {
		t.Errorf("version: %+v, %v", version, err)
	}
}
