package apiserver_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"wherry/orchestrator/apiserver"
	"wherry/orchestrator/state"
)

// A line of the trace is one request of an unmodified kubectl, and what kube-apiserver
// answered. Replayed are those for kinds that are served here.
type traced struct {
	command, protocol, method, path, accept, contentType string
	status, answerType                                   string
}

func readTrace(t *testing.T) (lines []traced) {
	data, err := os.ReadFile("testdata/kubectl-trace.tsv")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if strings.HasPrefix(line, "#") || f[0] == "command" {
			continue
		}
		lines = append(lines, traced{
			command: f[0], protocol: f[1], method: f[2], path: f[3], accept: f[4], contentType: f[5], status: f[8], answerType: f[9]})
	}
	return lines
}

const (
	acceptTable = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
	acceptDisc  = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList," +
		"application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
)

func TestTraceOfKubectl(t *testing.T) {
	nodes := &fakeNodes{log: "hello\n"}
	c := start(t, func(cfg *apiserver.Config) { cfg.Nodes = nodes })
	for _, namespace := range []string{"kube-node-lease", "kube-system"} {
		create(c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	}
	config := c.serve()
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range readTrace(t) {
		t.Run(line.command+" "+line.method+" "+strings.SplitN(line.path, "?", 2)[0], func(t *testing.T) {
			(&replay{t: t, c: c, client: client, base: config.Host, line: line}).run()
		})
	}
}

type replay struct {
	t      *testing.T
	c      *cluster
	client *http.Client
	base   string
	line   traced
}

func (r *replay) run() {
	r.world()
	request := r.request()
	if r.line.status == "304" {
		first := r.do(request)
		request = r.request()
		request.Header.Set("If-None-Match", first.Header.Get("ETag"))
	}
	got := r.do(request)
	if fmt.Sprint(got.StatusCode) != r.line.status || got.Proto != r.line.protocol {
		r.t.Errorf("%s %s: %s %d, want %s\n%s", r.line.method, r.line.path, got.Proto, got.StatusCode, r.line.status, got.body)
	}
	if strings.HasPrefix(r.line.path, "/openapi/v3?") {
		return // kube-apiserver says text/plain of JSON, and clients do not look
	}
	if want := strings.Trim(r.line.answerType, "-"); got.Header.Get("Content-Type") != want {
		r.t.Errorf("%s %s: content type %q, want %q", r.line.method, r.line.path, got.Header.Get("Content-Type"), want)
	}
}

func (r *replay) do(request *http.Request) answer {
	r.t.Helper()
	response, err := r.client.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	if request.URL.Query().Get("watch") != "" {
		return answer{response, ""}
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer{response, string(body)}
}

var version = regexp.MustCompile(`resourceVersion=\d+`)

func (r *replay) request() *http.Request {
	path := version.ReplaceAllString(r.line.path, fmt.Sprint("resourceVersion=", r.c.state.Revision()))
	request, err := http.NewRequestWithContext(r.t.Context(), r.line.method, r.base+path, bytes.NewReader(r.body()))
	if err != nil {
		r.t.Fatal(err)
	}
	accept := strings.NewReplacer("TABLE", acceptTable, "AGGDISC", acceptDisc).Replace(r.line.accept)
	request.Header.Set("Accept", accept)
	request.Header.Set("User-Agent", "kubectl/v1.36.3 (linux/amd64) kubernetes/trace")
	if r.line.contentType != "-" {
		request.Header.Set("Content-Type", r.line.contentType)
	}
	return request
}

// world makes what the line expects to be there, and removes what it expects not to be.
func (r *replay) world() {
	ensure(r.c, newEndpoints("ag"), newDeployment("web"), newConfigMap("c1"), newService("ag"), newNode("vm"), newLease("vm"),
		newRunningPod("t1", "a"), newRunningPod("ag", "ag"), newRunningPod("r1", "r1"), newRunningPod("t1-copy", "a"),
		newRunningPod("web-6c47cc84b5-7thh7", "a"))
	if r.line.status != "404" {
		return
	}
	target, err := url.Parse(r.line.path)
	if err != nil {
		r.t.Fatal(err)
	}
	if a := r.c.ask("DELETE", target.Path+"?gracePeriodSeconds=0", ""); a.StatusCode != 200 {
		r.t.Fatal(a.body)
	}
}

// body is what the command would have sent.
func (r *replay) body() []byte {
	path, _, _ := strings.Cut(r.line.path, "?")
	switch r.line.method {
	case "PATCH":
		return []byte(r.patch(path))
	case "DELETE":
		return []byte(`{"propagationPolicy":"Background"}`)
	case "GET":
		return nil
	}
	parts := strings.Split(path, "/")
	bodies := map[string]runtime.Object{
		"deployments": newDeployment(""), "configmaps": newConfigMap(""), "services": newService(""), "pods": newRunningPod("", "a"),
		"c1": newConfigMap("c1"), "eviction": &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "web-6c47cc84b5-7thh7"}},
		"selfsubjectreviews": &authenticationv1.SelfSubjectReview{},
		"selfsubjectaccessreviews": &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
			ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "get", Resource: "pods"}}},
		"selfsubjectrulesreviews": &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "default"}},
	}
	obj := bodies[parts[len(parts)-1]]
	if obj == nil {
		r.t.Fatalf("nothing to send to %s", path)
	}
	if meta := obj.(metav1.Object); meta.GetName() == "" && !strings.HasSuffix(path, "reviews") {
		meta.SetGenerateName("made-")
	}
	gvks, _, err := scheme.Scheme.ObjectKinds(obj)
	if err != nil {
		r.t.Fatal(err)
	}
	info, ok := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), r.line.contentType)
	if !ok {
		r.t.Fatal(r.line.contentType)
	}
	b, err := runtime.Encode(scheme.Codecs.EncoderForVersion(info.Serializer, gvks[0].GroupVersion()), obj)
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

func (r *replay) patch(path string) string {
	stale := r.line.status == "409"
	switch {
	case strings.Contains(r.line.contentType, "json-patch"):
		return `[{"op":"add","path":"/metadata/annotations","value":{"a":"b"}}]`
	case strings.Contains(r.line.contentType, "apply"):
		return `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"minReadySeconds":3}}`
	case strings.HasSuffix(path, "/scale"):
		return `{"spec":{"replicas":2}}`
	case stale:
		return `{"metadata":{"resourceVersion":"1","annotations":{"a":"c"}}}`
	}
	return `{"metadata":{"annotations":{"a":"c"}}}`
}

func newService(name string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"run": "ag"}, Ports: []corev1.ServicePort{{Port: 8080}}}}
}

// newEndpoints says that the pod of the same name serves a service.
func newEndpoints(service string) *discoveryv1.EndpointSlice {
	port, ready := int32(8080), true
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: service + "-1", Namespace: "default", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Port: &port}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.42.0.2"}, Conditions: discoveryv1.EndpointConditions{Ready: &ready},
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: service}}},
	}
}

func newNode(name string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

func newLease(name string) *coordinationv1.Lease {
	return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "kube-node-lease"}}
}

// newRunningPod runs on the node vm, with one container.
func newRunningPod(name, container string) *corev1.Pod {
	pod := newPod(name)
	pod.Spec.NodeName = "vm"
	pod.Spec.Containers[0].Name = container
	pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.42.0.2", ContainerStatuses: []corev1.ContainerStatus{{
		Name: container, Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}}
	return pod
}

func create[T state.Object](c *cluster, obj T) {
	c.t.Helper()
	if _, err := state.Create(c.t.Context(), c.state, obj); err != nil && !apierrors.IsAlreadyExists(err) {
		c.t.Fatal(err)
	}
}

// ensure makes objects that do not exist, with their status.
func ensure(c *cluster, objects ...state.Object) {
	c.t.Helper()
	for _, obj := range objects {
		if obj.GetNamespace() == "" {
			if _, isNode := obj.(*corev1.Node); !isNode {
				obj.SetNamespace("default")
			}
		}
		switch obj := obj.(type) {
		case *appsv1.Deployment:
			create(c, obj)
		case *corev1.ConfigMap:
			create(c, obj)
		case *corev1.Service:
			create(c, obj)
		case *corev1.Node:
			create(c, obj)
		case *discoveryv1.EndpointSlice:
			create(c, obj)
		case *coordinationv1.Lease:
			create(c, obj)
		case *corev1.Pod:
			create(c, obj)
			setStatus(c, obj)
		}
	}
}

func setStatus(c *cluster, pod *corev1.Pod) {
	c.t.Helper()
	_, err := state.UpdateStatus(c.t.Context(), c.state, pod.Namespace, pod.Name, func(live *corev1.Pod) error {
		live.Status = pod.Status
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
}
