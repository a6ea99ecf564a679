package oracle

import (
	"net/http"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
)

// What kubectl says for short in the trace.
var longhand = strings.NewReplacer(
	"TABLE", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
	"AGGDISC", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json")

// needsNode are subresources that a node answers: there is none.
var needsNode = map[string]bool{"exec": true, "attach": true, "portforward": true, "log": true, "proxy": true}

// The objects that the commands of the trace meet.
const (
	podTemplate = `{"metadata":{"labels":{"run":"ag"}},"spec":{"containers":[{"name":"a","image":"i"}]}}`
	podNamed    = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"NAME","labels":{"run":"ag"}},"spec":{"nodeName":"vm","containers":[{"name":"a","image":"i"}]}}`
	deployment  = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":1,"selector":{"matchLabels":{"run":"ag"}},"template":` + podTemplate + `}}`
	configMap   = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c1"},"data":{"k":"v"}}`
	service     = `{"apiVersion":"v1","kind":"Service","metadata":{"name":"ag"},"spec":{"selector":{"run":"ag"},"ports":[{"port":8080}]}}`
)

var world = [][2]string{
	{"/api/v1/nodes", `{"apiVersion":"v1","kind":"Node","metadata":{"name":"vm"}}`},
	{"/apis/apps/v1/namespaces/default/deployments", deployment},
	{"/api/v1/namespaces/default/configmaps", configMap},
	{"/api/v1/namespaces/default/services", service},
	{"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", `{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"vm"}}`},
	{"/api/v1/namespaces/default/pods", strings.ReplaceAll(podNamed, "NAME", "t1")},
	{"/api/v1/namespaces/default/pods", strings.ReplaceAll(podNamed, "NAME", "ag")},
	{"/api/v1/namespaces/default/pods", strings.ReplaceAll(podNamed, "NAME", "r1")},
	{"/api/v1/namespaces/default/pods", strings.ReplaceAll(podNamed, "NAME", "t1-copy")},
	{"/api/v1/namespaces/default/pods", strings.ReplaceAll(podNamed, "NAME", "web-6c47cc84b5-7thh7")},
}

// posted are the objects that commands create, by the last part of the path.
var posted = map[string]string{
	"deployments":              strings.Replace(deployment, `"web"`, `"made"`, 1),
	"configmaps":               strings.Replace(configMap, `"c1"`, `"made"`, 1),
	"services":                 strings.Replace(service, `"ag"`, `"made"`, 1),
	"pods":                     strings.ReplaceAll(podNamed, "NAME", "made"),
	"c1":                       strings.Replace(configMap, `"v"`, `"w"`, 1),
	"eviction":                 `{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"web-6c47cc84b5-7thh7"}}`,
	"token":                    `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{}}`,
	"horizontalpodautoscalers": `{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","metadata":{"name":"made"},"spec":{"maxReplicas":3,"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"web"}}}`,
	"selfsubjectreviews":       `{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`,
	"selfsubjectaccessreviews": `{"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectAccessReview","spec":{"resourceAttributes":{"verb":"get","resource":"pods"}}}`,
	"selfsubjectrulesreviews":  `{"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectRulesReview","spec":{"namespace":"default"}}`,
}

// TestTrace asks what kubectl was seen to ask.
func TestTrace(t *testing.T) {
	data, err := os.ReadFile("../testdata/kubectl-trace.tsv")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if strings.HasPrefix(line, "#") || f[0] == "command" || needsNode[path.Base(strings.Split(f[3], "?")[0])] || strings.Contains(f[3], "/proxy/") {
			continue
		}
		c := pair.Case(t.Context())
		if err := c.Namespace("default"); err != nil {
			t.Fatal(err)
		}
		for _, object := range world {
			if err := c.prepare(object[0], object[1]); err != nil {
				t.Fatal(err)
			}
		}
		c.steps = []string{"# " + f[0]}
		r := traced(t, f[2], f[3], f[4], f[5])
		if _, err := c.Ask(r); err != nil {
			t.Fatal(err)
		}
		if name := posted[path.Base(strings.Split(r.Path, "?")[0])]; f[2] == "POST" && strings.Contains(name, `"made"`) {
			at := strings.Split(r.Path, "?")[0] + "/made?gracePeriodSeconds=0"
			if _, err := c.Ask(Request{Method: "DELETE", Path: at}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

var (
	oldVersion = regexp.MustCompile(`resourceVersion=[1-9]\d*`)
	watchTime  = regexp.MustCompile(`&timeoutSeconds=\d+`)
)

func traced(t *testing.T, method, at, accept, contentType string) Request {
	t.Helper()
	r := Request{Method: method, Path: oldVersion.ReplaceAllString(at, "resourceVersion=⟨version⟩"), Header: map[string]string{}}
	if strings.Contains(at, "watch=true") {
		r.Path = watchTime.ReplaceAllString(r.Path, "") + "&timeoutSeconds=1"
	}
	if accept != "-" {
		r.Header["Accept"] = longhand.Replace(accept)
	}
	if contentType == "-" {
		return r
	}
	r.Header["Content-Type"] = contentType
	switch last := path.Base(strings.Split(at, "?")[0]); {
	case method == http.MethodDelete:
		r.Body = `{"propagationPolicy":"Background"}`
	case method == http.MethodPatch:
		r.Body = tracedPatch(last, contentType)
	default:
		r.Body = posted[last]
		if strings.HasSuffix(contentType, "protobuf") {
			r.Body = protobuf(t, r.Body)
		}
	}
	return r
}

func tracedPatch(last, contentType string) string {
	switch {
	case strings.Contains(contentType, "json-patch"):
		return `[{"op":"add","path":"/metadata/annotations","value":{"a":"b"}}]`
	case strings.Contains(contentType, "apply"):
		return `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"minReadySeconds":3}}`
	case last == "scale":
		return `{"spec":{"replicas":2}}`
	case last == "ephemeralcontainers":
		return `{"spec":{"ephemeralContainers":[{"name":"debug","image":"i"}]}}`
	}
	return `{"metadata":{"annotations":{"a":"c"}}}`
}

// protobuf is what client-go sends for an object of a built-in kind.
func protobuf(t *testing.T, text string) string {
	t.Helper()
	obj, gvk, err := legacyscheme.Codecs.UniversalDeserializer().Decode([]byte(text), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	info, ok := runtime.SerializerInfoForMediaType(legacyscheme.Codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	if !ok {
		t.Fatal("no protobuf")
	}
	b, err := runtime.Encode(legacyscheme.Codecs.EncoderForVersion(info.Serializer, gvk.GroupVersion()), obj)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
