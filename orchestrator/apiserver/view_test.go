package apiserver_test

import (
	"fmt"
	"strings"
	"testing"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

const asTable = "Accept: application/json;as=Table;v=v1;g=meta.k8s.io"

// Both versions show the same object, through every door.
func TestAutoscalersInBothVersions(t *testing.T) {
	c := start(t)
	const v1, v2 = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers", "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
	const ref = `"scaleTargetRef":{"kind":"Deployment","name":"web","apiVersion":"apps/v1"}`
	for _, step := range []struct {
		method, path, body, header string
		code                       int
		want                       string
	}{
		{"POST", v1, `{"apiVersion":"autoscaling/v1","kind":"HorizontalPodAutoscaler","metadata":{"name":"a"},"spec":{"maxReplicas":3,` + ref + `}}`,
			contentJSON, 201, `"spec":{` + ref + `,"minReplicas":1,"maxReplicas":3,"targetCPUUtilizationPercentage":80}`},
		{"GET", v2 + "/a", "", "", 200, `"metrics":[{"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":80}}}]`},
		{"POST", v1, `{"apiVersion":"autoscaling/v1","kind":"HorizontalPodAutoscaler","metadata":{"name":"a"},"spec":{"maxReplicas":3,` + ref + `}}`,
			contentJSON, 409, `already exists`},
		{"POST", v2, `{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","metadata":{"name":"b"},"spec":{"maxReplicas":0,` + ref + `}}`,
			contentJSON, 422, `"field":"spec.maxReplicas"`},
		{"POST", v1, `{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","metadata":{"name":"b"}}`, contentJSON, 400, "does not match the expected API version (autoscaling/v1)"},
		{"PATCH", v1 + "/a", `{"spec":{"targetCPUUtilizationPercentage":50}}`, contentMerge, 200, `"targetCPUUtilizationPercentage":50`},
		{"PATCH", v2 + "/a", `{"spec":{"minReplicas":2}}`, contentSMP, 200, `"averageUtilization":50`},
		{"PATCH", v1 + "/a", `[{"op":"test","path":"/spec/minReplicas","value":2}]`, contentJPat, 200, `"apiVersion":"autoscaling/v1"`},
		{"PATCH", v2 + "/a?fieldManager=x", `{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","spec":{"maxReplicas":9}}`, contentApply, 409, `conflict with \"test\" using autoscaling/v1: .spec.maxReplicas`},
		{"PATCH", v2 + "/a?fieldManager=x&force=true", `{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","spec":{"maxReplicas":9}}`, contentApply, 200, `"maxReplicas":9`},
		{"PATCH", v1 + "/a/status", `{"status":{"currentReplicas":2,"desiredReplicas":3,"currentCPUUtilizationPercentage":44}}`, contentMerge, 200, `"currentCPUUtilizationPercentage":44`},
		{"GET", v2, "", "", 200, `"currentMetrics":[{"type":"Resource","resource":{"name":"cpu","current":{"averageValue":"0","averageUtilization":44}}}]`},
		{"GET", v1, "", "", 200, `{"kind":"HorizontalPodAutoscalerList","apiVersion":"autoscaling/v1"`},
		{"GET", v1 + "/a", "", asTable, 200, `["a","Deployment/web","cpu: 44%/50%","2",9,2,`},
		{"GET", v2 + "/a", "", asTable, 200, `["a","Deployment/web","cpu: 44%/50%","2",9,2,`},
		{"DELETE", v1 + "/a?dryRun=All", "", "", 200, `"status":"Success"`},
		{"DELETE", v1 + "/a", "", "", 200, `"status":"Success"`},
		{"GET", v2 + "/a", "", "", 404, `horizontalpodautoscalers.autoscaling \"a\" not found`},
	} {
		a := c.ask(step.method, step.path, step.body, step.header)
		if a.StatusCode != step.code || !strings.Contains(a.body, step.want) {
			t.Errorf("%s %s: %d %s\nwant %d ... %s ...", step.method, step.path, a.StatusCode, a.body, step.code, step.want)
		}
	}
}

// What a manager did in one version is known in the other.
func TestManagedFieldsOfTwoVersions(t *testing.T) {
	c := start(t)
	client := c.clientset()
	ctx := t.Context()
	percent := int32(70)
	target := autoscalingv1.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"}
	one := &autoscalingv1.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: "a"},
		Spec:       autoscalingv1.HorizontalPodAutoscalerSpec{MaxReplicas: 3, ScaleTargetRef: target, TargetCPUUtilizationPercentage: &percent},
	}
	if _, err := client.AutoscalingV1().HorizontalPodAutoscalers("default").Create(ctx, one, metav1.CreateOptions{FieldManager: "old"}); err != nil {
		t.Fatal(err)
	}
	two, err := client.AutoscalingV2().HorizontalPodAutoscalers("default").Patch(ctx, "a", types.MergePatchType,
		[]byte(`{"spec":{"maxReplicas":4}}`), metav1.PatchOptions{FieldManager: "new"})
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, m := range two.ManagedFields {
		got += fmt.Sprintf("%s %s %v; ", m.Manager, m.APIVersion, strings.Contains(string(m.FieldsV1.Raw), "f:maxReplicas"))
	}
	if want := "new autoscaling/v2 true; old autoscaling/v1 false; "; got != want {
		t.Errorf("%s", got)
	}
	if two.Spec.Metrics[0].Type != autoscalingv2.ResourceMetricSourceType {
		t.Errorf("%+v", two.Spec)
	}
}

// Events are one storage in two groups; watches, selectors and protobuf go both ways.
func TestEventsInBothGroups(t *testing.T) {
	c := start(t)
	client := c.clientset()
	ctx := t.Context()
	w, err := client.EventsV1().Events("default").Watch(ctx, metav1.ListOptions{FieldSelector: "regarding.name=web"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for _, name := range []string{"web", "other"} {
		_, err := client.CoreV1().Events("default").Create(ctx, &corev1.Event{
			ObjectMeta:     metav1.ObjectMeta{Name: name + ".1"},
			InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: name},
			Reason:         "Started", Message: "it runs", Type: "Normal",
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	seen := (<-w.ResultChan()).Object.(*eventsv1.Event)
	if seen.Note != "it runs" || seen.Regarding.Name != "web" {
		t.Errorf("watched %+v", seen)
	}
	testSelectedEvents(t, client)
	if _, err := client.EventsV1().Events("default").Create(ctx, &eventsv1.Event{ObjectMeta: metav1.ObjectMeta{Name: "bare"}}, metav1.CreateOptions{}); err == nil ||
		!strings.Contains(err.Error(), "eventTime: Required value") {
		t.Errorf("events.k8s.io has rules of its own: %v", err)
	}
	if err := client.EventsV1().Events("default").Delete(ctx, "web.1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if e := <-w.ResultChan(); e.Type != watch.Deleted || e.Object.(*eventsv1.Event).Name != "web.1" {
		t.Errorf("%v", e)
	}
}

func testSelectedEvents(t *testing.T, client *kubernetes.Clientset) {
	t.Helper()
	ctx := t.Context()
	shown, err := client.EventsV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "regarding.name=other"})
	if err != nil || len(shown.Items) != 1 || shown.Items[0].Reason != "Started" || shown.Items[0].ResourceVersion == "" {
		t.Errorf("%+v, %v", shown, err)
	}
	stored, err := client.CoreV1().Events("default").List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil || len(stored.Items) != 1 || stored.Items[0].Message != "it runs" || stored.Continue == "" {
		t.Errorf("%+v, %v", stored, err)
	}
	if _, err := client.EventsV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=web"}); err == nil {
		t.Error("a field of the other group was taken")
	}
}
