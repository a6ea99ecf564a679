package webhook_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/apiserver/admission"
	"wherry/orchestrator/apiserver/admission/webhook"
	"wherry/orchestrator/reach"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
	"wherry/orchestrator/store/memstore"
)

// cluster is a state whose webhooks are served here.
type cluster struct {
	*testing.T
	*state.State
	server *httptest.Server
	hooks  map[string]func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse // by path

	mu     sync.Mutex
	seen   []*admissionv1.AdmissionRequest
	opened int
	told   []string
}

func start(t *testing.T) *cluster {
	c := &cluster{T: t, hooks: map[string]func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse{}}
	c.server = httptest.NewUnstartedServer(http.HandlerFunc(c.serve))
	c.server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			c.mu.Lock()
			c.opened++
			c.mu.Unlock()
		}
	}
	c.server.StartTLS()
	t.Cleanup(c.server.Close)
	dial := func(ctx context.Context, namespace, name string, port int32) (net.Conn, error) {
		if namespace != "default" || name != "hooks" || port != 8443 {
			return nil, fmt.Errorf("no service %s/%s:%d", namespace, name, port)
		}
		return new(net.Dialer).DialContext(ctx, "tcp", c.server.Listener.Addr().String())
	}
	hooks := webhook.New(webhook.Config{Post: &reach.Webhooks{Dial: dial}, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	s, err := state.Open(ctx, memstore.New(), state.Options{Kinds: resource.New(), Admission: admission.Default(hooks.Mutating(), hooks.Validating())})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	c.State = s
	c.make(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default", Labels: map[string]string{"team": "a"}}})
	c.make(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}})
	return c
}

func (c *cluster) serve(w http.ResponseWriter, r *http.Request) {
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	c.seen = append(c.seen, review.Request)
	hook := c.hooks[r.URL.Path]
	c.mu.Unlock()
	if hook == nil {
		http.NotFound(w, r)
		return
	}
	review.Response = hook(review.Request)
	review.Response.UID = review.Request.UID
	review.Request = nil
	_ = json.NewEncoder(w).Encode(review)
}

func (c *cluster) make(obj state.Object) state.Object {
	c.Helper()
	made, err := c.create(obj)
	if err != nil {
		c.Fatal(err)
	}
	return made
}

func (c *cluster) create(obj state.Object) (state.Object, error) {
	k, _ := c.Kinds().For(obj)
	return c.Create(c.Context(), k, obj, state.CreateOptions{User: &authenticationv1.UserInfo{Username: "me"}, Options: &metav1.CreateOptions{FieldManager: "f"},
		Remarks: &state.Remarks{OnWarning: func(s string) { c.tell("warning " + s) }, OnAudit: func(k, v string) { c.tell("audit " + k + "=" + v) }}})
}

func (c *cluster) tell(s string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !strings.Contains(s, "pod-security") {
		c.told = append(c.told, s)
	}
}

// config is how a hook at path is found: by the URL of the server.
func (c *cluster) config(path string) admissionregistrationv1.WebhookClientConfig {
	url := c.server.URL + path
	return admissionregistrationv1.WebhookClientConfig{URL: &url, CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.server.Certificate().Raw})}
}

func rules(group, version, resource string) []admissionregistrationv1.RuleWithOperations {
	return []admissionregistrationv1.RuleWithOperations{{Operations: []admissionregistrationv1.OperationType{"*"},
		Rule: admissionregistrationv1.Rule{APIGroups: []string{group}, APIVersions: []string{version}, Resources: []string{resource}}}}
}

// validate registers a validating hook for ConfigMaps, changed by change.
func (c *cluster) validate(name string, hook func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse, change ...func(*admissionregistrationv1.ValidatingWebhook)) {
	c.Helper()
	c.hooks["/"+name] = hook
	none := admissionregistrationv1.SideEffectClassNone
	w := admissionregistrationv1.ValidatingWebhook{Name: name + ".example.com", ClientConfig: c.config("/" + name), Rules: rules("", "v1", "configmaps"),
		SideEffects: &none, AdmissionReviewVersions: []string{"v1"}}
	for _, f := range change {
		f(&w)
	}
	c.make(&admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}, Webhooks: []admissionregistrationv1.ValidatingWebhook{w}})
}

func (c *cluster) mutate(name, patch string, change ...func(*admissionregistrationv1.MutatingWebhook)) {
	c.Helper()
	c.hooks["/"+name] = func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		kind := admissionv1.PatchTypeJSONPatch
		return &admissionv1.AdmissionResponse{Allowed: true, Patch: []byte(patch), PatchType: &kind}
	}
	none := admissionregistrationv1.SideEffectClassNone
	w := admissionregistrationv1.MutatingWebhook{Name: name + ".example.com", ClientConfig: c.config("/" + name), Rules: rules("", "v1", "configmaps"),
		SideEffects: &none, AdmissionReviewVersions: []string{"v1"}}
	for _, f := range change {
		f(&w)
	}
	c.make(&admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}, Webhooks: []admissionregistrationv1.MutatingWebhook{w}})
}

func configMap(name string, labels ...string) *corev1.ConfigMap {
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Data: map[string]string{}}
	for _, l := range labels {
		if m.Labels == nil {
			m.Labels = map[string]string{}
		}
		m.Labels[l] = "yes"
	}
	return m
}

func allow(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	return &admissionv1.AdmissionResponse{Allowed: true}
}

func deny(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	return &admissionv1.AdmissionResponse{Result: &metav1.Status{Message: "not today", Code: 418, Reason: "Teapot"}}
}

func TestMutatingHooksChangeInOrder(t *testing.T) {
	c := start(t)
	c.mutate("b", `[{"op":"add","path":"/data/b","value":"after-a"},{"op":"test","path":"/data/a","value":"1"}]`)
	c.mutate("a", `[{"op":"add","path":"/data","value":{"a":"1"}}]`)
	got := c.make(configMap("x")).(*corev1.ConfigMap)
	if got.Data["a"] != "1" || got.Data["b"] != "after-a" {
		t.Errorf("%v", got.Data)
	}
	r := c.seen[0]
	if r.Name != "x" || r.Namespace != "default" || r.Operation != "CREATE" || r.UserInfo.Username != "me" || r.Kind.Kind != "ConfigMap" || r.Resource.Resource != "configmaps" ||
		!strings.Contains(string(r.Options.Raw), `"fieldManager":"f"`) || !strings.Contains(string(r.Object.Raw), `"apiVersion":"v1"`) || r.OldObject.Raw != nil || *r.DryRun {
		t.Errorf("%+v %s", r, r.Object.Raw)
	}
}

// What a hook adds is defaulted, and completed by the rules again.
func TestPatchedPodsAreCompleted(t *testing.T) {
	c := start(t)
	c.mutate("sidecar", `[{"op":"add","path":"/spec/containers/-","value":{"name":"s","image":"s"}},{"op":"add","path":"/spec/tolerations","value":[]}]`,
		func(w *admissionregistrationv1.MutatingWebhook) { w.Rules = rules("", "v1", "pods") })
	pod := c.make(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}).(*corev1.Pod)
	if len(pod.Spec.Containers) != 2 || pod.Spec.Containers[1].TerminationMessagePath == "" || len(pod.Spec.Tolerations) != 2 {
		t.Errorf("%+v", pod.Spec)
	}
}

func TestHooksAreReinvoked(t *testing.T) {
	for policy, want := range map[admissionregistrationv1.ReinvocationPolicyType]int{"IfNeeded": 3, "Never": 2} {
		c := start(t)
		c.mutate("a", `[{"op":"add","path":"/data/a","value":"1"}]`, func(w *admissionregistrationv1.MutatingWebhook) { w.ReinvocationPolicy = &policy })
		c.mutate("b", `[{"op":"add","path":"/data/b","value":"1"}]`)
		c.make(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "x"}, Data: map[string]string{"z": ""}})
		if len(c.seen) != want {
			t.Errorf("%s: %d calls, want %d", policy, len(c.seen), want)
		}
	}
}

func TestRefusalsAndRemarks(t *testing.T) {
	c := start(t)
	c.validate("talks", func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{Allowed: true, Warnings: []string{"careful"}, AuditAnnotations: map[string]string{"k": "v"}}
	})
	c.make(configMap("fine"))
	if !slices.Equal(c.told, []string{"audit talks.example.com/k=v", "warning careful"}) {
		t.Errorf("%q", c.told)
	}
	c.validate("denies", deny)
	_, err := c.create(configMap("x"))
	if err == nil {
		t.Fatal("admitted")
	}
	status := err.(apierrors.APIStatus).Status()
	if status.Message != `admission webhook "denies.example.com" denied the request: not today` || status.Code != 418 || status.Reason != "Teapot" {
		t.Errorf("%+v", status)
	}
	// deletions and updates are judged, too
	if err := state.Delete[*corev1.ConfigMap](t.Context(), c.State, "default", "fine", state.DeleteOptions{}); err == nil {
		t.Error("deleted")
	}
	if last := c.seen[len(c.seen)-1]; last.Operation != "DELETE" || last.Object.Raw != nil || !strings.Contains(string(last.OldObject.Raw), "fine") {
		t.Errorf("%+v", last)
	}
}

func TestWhatHooksAreAsked(t *testing.T) {
	namespaced, cluster := admissionregistrationv1.NamespacedScope, admissionregistrationv1.ClusterScope
	type hook = admissionregistrationv1.ValidatingWebhook
	selector := func(key string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: key, Operator: metav1.LabelSelectorOpExists}}}
	}
	exact := admissionregistrationv1.Exact
	scaler := &autoscalingv1.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "h"},
		Spec: autoscalingv1.HorizontalPodAutoscalerSpec{MaxReplicas: 2, ScaleTargetRef: autoscalingv1.CrossVersionObjectReference{Kind: "Deployment", Name: "d", APIVersion: "apps/v1"}}}
	for name, test := range map[string]struct {
		change func(*hook)
		obj    state.Object
		asked  bool
	}{
		"all":               {func(w *hook) { w.Rules = rules("*", "*", "*") }, configMap("x"), true},
		"other resource":    {func(w *hook) { w.Rules = rules("", "v1", "secrets") }, configMap("x"), false},
		"subresource only":  {func(w *hook) { w.Rules = rules("", "v1", "configmaps/status") }, configMap("x"), false},
		"namespaced":        {func(w *hook) { w.Rules[0].Scope = &namespaced }, configMap("x"), true},
		"cluster":           {func(w *hook) { w.Rules[0].Scope = &cluster }, configMap("x"), false},
		"its namespace":     {func(w *hook) { w.NamespaceSelector = selector("team") }, configMap("x"), true},
		"another namespace": {func(w *hook) { w.NamespaceSelector = selector("nobody") }, configMap("x"), false},
		"its labels":        {func(w *hook) { w.ObjectSelector = selector("l") }, configMap("x", "l"), true},
		"other labels":      {func(w *hook) { w.ObjectSelector = selector("l") }, configMap("x", "m"), false},
		"conditions hold": {func(w *hook) {
			w.MatchConditions = []admissionregistrationv1.MatchCondition{{Name: "n", Expression: `object.metadata.name == "x" && request.userInfo.username == "me"`}}
		}, configMap("x"), true},
		"conditions fail": {func(w *hook) {
			w.MatchConditions = []admissionregistrationv1.MatchCondition{{Name: "n", Expression: `object.metadata.name == "y"`}}
		}, configMap("x"), false},
		"equivalent": {func(w *hook) { w.Rules = rules("autoscaling", "v2", "horizontalpodautoscalers") }, scaler, true},
		"exact":      {func(w *hook) { w.Rules, w.MatchPolicy = rules("autoscaling", "v2", "horizontalpodautoscalers"), &exact }, scaler, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t)
			c.validate("h", allow, test.change)
			c.make(test.obj)
			if asked := len(c.seen) == 1; asked != test.asked {
				t.Errorf("asked %d times", len(c.seen))
			}
			if name == "equivalent" && (c.seen[0].Kind.Version != "v2" || c.seen[0].RequestKind.Version != "v1" || !strings.Contains(string(c.seen[0].Object.Raw), `"apiVersion":"autoscaling/v2"`)) {
				t.Errorf("%+v %s", c.seen[0], c.seen[0].Object.Raw)
			}
		})
	}
}

func TestHooksThatCannotBeAsked(t *testing.T) {
	ignore := admissionregistrationv1.Ignore
	second := int32(1)
	for name, test := range map[string]struct {
		change func(*admissionregistrationv1.ValidatingWebhook)
		hook   func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse
		says   string
	}{
		"missing":  {func(w *admissionregistrationv1.ValidatingWebhook) {}, nil, `Internal error occurred: failed calling webhook "h.example.com": failed to call webhook: the server answered 404 Not Found`},
		"ignored":  {func(w *admissionregistrationv1.ValidatingWebhook) { w.FailurePolicy = &ignore }, nil, ""},
		"stranger": {func(w *admissionregistrationv1.ValidatingWebhook) { w.ClientConfig.CABundle = nil }, allow, "certificate signed by unknown authority"},
		"slow": {func(w *admissionregistrationv1.ValidatingWebhook) { w.TimeoutSeconds = &second }, func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
			time.Sleep(1200 * time.Millisecond)
			return &admissionv1.AdmissionResponse{Allowed: true}
		}, "context deadline exceeded"},
		"no service": {func(w *admissionregistrationv1.ValidatingWebhook) {
			w.ClientConfig = admissionregistrationv1.WebhookClientConfig{Service: &admissionregistrationv1.ServiceReference{Namespace: "default", Name: "gone"}}
		}, allow, "no service default/gone:443"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := start(t)
			c.validate("h", test.hook, test.change)
			_, err := c.create(configMap("x"))
			if test.says == "" && err != nil || test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestServicesAndConnections(t *testing.T) {
	c := start(t)
	port, path := int32(8443), "/h"
	c.validate("h", allow, func(w *admissionregistrationv1.ValidatingWebhook) {
		w.ClientConfig.URL = nil
		w.ClientConfig.Service = &admissionregistrationv1.ServiceReference{Namespace: "default", Name: "hooks", Port: &port, Path: &path}
	})
	// the server's certificate is for example.com, not for hooks.default.svc
	if _, err := c.create(configMap("x")); err == nil || !strings.Contains(err.Error(), "not hooks.default.svc") {
		t.Errorf("%v", err)
	}
	d := start(t)
	d.validate("h", allow)
	for i := range 20 {
		d.make(configMap(fmt.Sprintf("x%d", i)))
	}
	if d.opened != 1 {
		t.Errorf("%d connections for 20 calls", d.opened)
	}
}

func TestDryRunsSpareHooksWithSideEffects(t *testing.T) {
	c := start(t)
	c.validate("h", allow)
	k, _ := c.Kinds().For(configMap("x"))
	if _, err := c.Create(t.Context(), k, configMap("x"), state.CreateOptions{DryRun: true}); err != nil || !*c.seen[0].DryRun {
		t.Errorf("%v", err)
	}
}

// Through the door scale hooks see, and change, a Scale.
func TestScalesAreJudged(t *testing.T) {
	c := start(t)
	c.mutate("h", `[{"op":"replace","path":"/spec/replicas","value":5}]`, func(w *admissionregistrationv1.MutatingWebhook) { w.Rules = rules("apps", "v1", "deployments/scale") })
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "d"}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}}}
	c.make(d)
	k, _ := c.Kinds().For(d)
	got, _, err := c.Update(t.Context(), k, "default", "d", func(live state.Object) (state.Object, error) {
		n := int32(9)
		live.(*appsv1.Deployment).Spec.Replicas = &n
		return live, nil
	}, state.UpdateOptions{Subresource: "scale"})
	if err != nil || *got.(*appsv1.Deployment).Spec.Replicas != 5 {
		t.Fatalf("%v %v", got, err)
	}
	if r := c.seen[0]; r.Kind.Kind != "Scale" || r.Resource.Resource != "deployments" || r.SubResource != "scale" || !strings.Contains(string(r.Object.Raw), `"spec":{"replicas":9}`) || !strings.Contains(string(r.OldObject.Raw), `"spec":{"replicas":1}`) {
		t.Errorf("%+v %s", r, r.Object.Raw)
	}
}

func TestStreamsAreJudged(t *testing.T) {
	c := start(t)
	c.validate("h", deny, func(w *admissionregistrationv1.ValidatingWebhook) { w.Rules = rules("", "v1", "pods/exec") })
	k, _ := c.Kinds().For(&corev1.Pod{})
	err := c.Ask(t.Context(), state.Attributes{Kind: k, Subresource: "exec", Operation: state.OpConnect, Namespace: "default", Name: "p",
		Connect: &corev1.PodExecOptions{Command: []string{"sh"}}})
	if err == nil || c.seen[0].Kind.Kind != "PodExecOptions" || c.seen[0].SubResource != "exec" || !strings.Contains(string(c.seen[0].Object.Raw), `"command":["sh"]`) {
		t.Errorf("%v %+v", err, c.seen)
	}
}
