package apiserver_test

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	maps = "/api/v1/namespaces/default/configmaps"
	c1   = maps + "/c1"
)

func cm(name, more string) string {
	return `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"` + name + `"}` + more + `}`
}

// What Kubernetes refuses, in its words.
func TestRefusals(t *testing.T) {
	c := start(t)
	ensure(c, newConfigMap("c1"), newDeployment("web"))
	long := strings.Repeat("x", 3<<20)
	for _, test := range []struct {
		name, method, path, body, header string
		code                             int
		want                             string
	}{
		{"unknown path", "GET", "/nope", "", "", 404, "404 page not found"},
		{"unknown group", "GET", "/apis/nope.io/v1/things", "", "", 404, "404 page not found"},
		{"unknown version", "GET", "/apis/apps/v1beta1/deployments", "", "", 404, "the server could not find the requested resource"},
		{"documents of an unknown version", "GET", "/apis/apps/v9", "", "", 404, "the server could not find the requested resource"},
		{"documents of an unknown group", "GET", "/apis/nope.io", "", "", 404, "404 page not found"},
		{"another core version", "GET", "/api/v2", "", "", 404, "the server could not find the requested resource"},
		{"head of a list", "HEAD", maps, "", "", 405, "the server does not allow this method on the requested resource"},
		{"head of nothing", "HEAD", maps + "/none", "", "", 405, "the server does not allow this method on the requested resource"},
		{"options", "OPTIONS", maps, "", "", 405, "the server does not allow this method on the requested resource"},
		{"unknown resource", "GET", "/api/v1/things", "", "", 404, "the server could not find the requested resource"},
		{"unknown subresource", "GET", c1 + "/status", "", "", 404, "the server could not find the requested resource"},
		{"namespaced object without namespace", "GET", "/api/v1/configmaps/c1", "", "", 404, "the server could not find"},
		{"node in a namespace", "GET", "/api/v1/namespaces/default/nodes/n", "", "", 404, "the server could not find"},
		{"method", "POST", c1, "{}", contentJSON, 405, "the server does not allow this method on the requested resource"},
		{"create over all namespaces", "POST", "/api/v1/configmaps", "{}", contentJSON, 405, "does not allow this method"},
		{"put to a list", "PUT", maps, "{}", contentJSON, 405, "does not allow this method"},
		{"deletecollection of namespaces", "DELETE", "/api/v1/namespaces", "", "", 405, "does not allow this method"},
		{"accept", "GET", c1, "", "Accept: text/html", 406, `406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf`},
		{"metadata of a list as of one", "GET", maps, "", "Accept: application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", 406, "the requested object is a list"},
		{"metadata of one as of a list", "GET", c1, "", "Accept: application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", 406, "not a list"},
		{"watch as yaml", "GET", maps + "?watch=1", "", "Accept: application/yaml", 406, "stream=watch"},
		{"includeObject", "GET", maps + "?includeObject=Some", "", "Accept: application/json;as=Table;v=v1;g=meta.k8s.io", 400, "Unable to convert to Table as requested"},
		{"content type", "POST", maps, "x", "Content-Type: text/plain", 415, "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf"},
		{"patch type", "PATCH", c1, "{}", contentJSON, 415, "accepted media types include: application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml"},
		{"large body", "POST", maps, cm("big", `,"data":{"a":"`+long+`"}`), contentJSON, 413, "limit is 3145728"},
		{"long url", "GET", "/api/v1/pods?labelSelector=" + strings.Repeat("a", 70_000), "", "", 414, "the URL is too long"},
		{"empty body", "POST", maps, "", contentJSON, 400, "the object provided is unrecognized (must be of type ConfigMap)"},
		{"not json", "POST", maps, "<a/>", contentJSON, 400, "(must be of type ConfigMap): couldn't get version/kind; json parse error"},
		{"wrong kind", "POST", maps, `{"apiVersion":"v1","kind":"Secret"}`, contentJSON, 400, `Secret in version \"v1\" cannot be handled as a ConfigMap`},
		{"unknown kind", "POST", maps, `{"apiVersion":"v1","kind":"Nope"}`, contentJSON, 400, `Nope in version \"v1\" cannot be handled as a ConfigMap: no kind \"Nope\" is registered for version \"v1\"`},
		{"wrong version", "POST", maps, `{"apiVersion":"apps/v1","kind":"Deployment"}`, contentJSON, 400, "does not match the expected API version (v1)"},
		{"bad quantity", "POST", "/api/v1/namespaces/default/pods", `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i","resources":{"limits":{"cpu":"lots"}}}]}}`,
			contentJSON, 400, "Pod in version \\\"v1\\\" cannot be handled as a Pod: quantities must match the regular expression"},
		{"strict", "POST", maps + "?fieldValidation=Strict", cm("s", `,"dta":{"a":"b"},"data":{"x":"1","x":"2"}`), contentJSON, 400,
			`strict decoding error: unknown field \"dta\", duplicate field \"data.x\"`},
		{"strict merge patch", "PATCH", c1 + "?fieldValidation=Strict", `{"dta":{"a":"b"}}`, contentMerge, 422, `strict decoding error: unknown field \"dta\"`},
		{"strict strategic patch", "PATCH", c1 + "?fieldValidation=Strict", `{"dta":{"a":"b"}}`, contentSMP, 422, `strict decoding error: unknown field \"dta\"`},
		{"strict json patch", "PATCH", c1 + "?fieldValidation=Strict", `[{"op":"add","path":"/x","vaule":1,"value":1}]`, contentJPat, 422, `json patch unknown field \"[0].vaule\"`},
		{"other namespace", "POST", maps, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"other"}}`, contentJSON, 400,
			"the namespace of the provided object does not match the namespace sent on the request"},
		{"other name", "PUT", c1, cm("c2", ""), contentJSON, 400, "the name of the object (c2) does not match the name on the URL (c1)"},
		{"put without a name", "PUT", c1, `{"apiVersion":"v1","kind":"ConfigMap"}`, contentJSON, 400, "the name of the object (c1 based on URL) was undeterminable: name must be provided"},
		{"put of nothing", "PUT", maps + "/none", cm("none", ""), contentJSON, 404, `configmaps \"none\" not found`},
		{"stale put", "PUT", c1, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c1","resourceVersion":"1"}}`, contentJSON, 409,
			`Operation cannot be fulfilled on configmaps \"c1\": the object has been modified; please apply your changes to the latest version and try again`},
		{"patch of nothing", "PATCH", maps + "/none", "{}", contentMerge, 404, `configmaps \"none\" not found`},
		{"json patch that copies too much", "PATCH", c1, `[{"op":"add","path":"/data","value":{"a":"` + strings.Repeat("x", 1<<20) + `"}}` +
			strings.Repeat(`,{"op":"copy","from":"/data/a","path":"/data/b"}`, 4) + "]", contentJPat, 422, "the server rejected our request due to an error in our request"},
		{"json patch of many operations", "PATCH", c1, `[{"op":"test","path":"/kind","value":"ConfigMap"}` +
			strings.Repeat(`,{"op":"test","path":"/kind","value":"ConfigMap"}`, 10_000) + "]", contentJPat, 413, "The allowed maximum operations in a JSON patch is 10000, got 10001"},
		{"deep json", "POST", maps, `{"a":` + strings.Repeat("[", 20_000), contentJSON, 400, "exceeded max depth"},
		{"deep yaml", "POST", maps, "a: " + strings.Repeat("[", 20_000), "Content-Type: application/yaml", 400, "exceeded max depth"},
		{"cbor", "POST", maps, "x", "Content-Type: application/cbor", 415, "the body of the request was in an unknown format"},
		{"cbor asked", "GET", maps, "", "Accept: application/cbor", 406, "Not Acceptable"},
		{"patch that is none", "PATCH", c1, "[]", contentMerge, 400, "error decoding patch"},
		{"json patch that is none", "PATCH", c1, "{}", contentJPat, 400, "error decoding patch"},
		{"json patch of nothing", "PATCH", c1, `[{"op":"remove","path":"/data/nope"}]`, contentJPat, 422, "the server rejected our request due to an error in our request"},
		{"patch to another type", "PATCH", c1, `{"data":7}`, contentMerge, 422, "patch: Invalid value"},
		{"strategic patch to another type", "PATCH", c1, `{"data":7}`, contentSMP, 422, "patch: Invalid value"},
		{"renaming patch", "PATCH", c1, `{"metadata":{"name":"c2"}}`, contentMerge, 400, "the name of the object (c2) does not match the name on the URL (c1)"},
		{"apply without manager", "PATCH", c1, cm("c1", ""), contentApply, 422, "fieldManager: Required value: is required for apply patch"},
		{"forced merge", "PATCH", c1 + "?force=true", "{}", contentMerge, 422, "force: Forbidden: may not be specified for non-apply patch"},
		{"apply of another kind", "PATCH", c1 + "?fieldManager=m", `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"c1"}}`, contentApply, 400, "invalid object type: /v1, Kind=Secret"},
		{"apply that is none", "PATCH", c1 + "?fieldManager=m", "a: [", contentApply, 400, "error decoding YAML"},
		{"apply with managed fields", "PATCH", c1 + "?fieldManager=m", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c1","managedFields":[{}]}}`, contentApply, 400, "metadata.managedFields must be nil"},
		{"apply of an unknown field", "PATCH", c1 + "?fieldManager=m", cm("c1", `,"dta":{}`), contentApply, 500, ".dta: field not declared in schema"},
		{"dry run", "POST", maps + "?dryRun=Some", cm("d", ""), contentJSON, 422, "dryRun"},
		{"field manager", "POST", maps + "?fieldManager=" + strings.Repeat("m", 129), cm("d", ""), contentJSON, 422, "fieldManager"},
		{"field validation", "POST", maps + "?fieldValidation=Maybe", cm("d", ""), contentJSON, 422, "fieldValidation"},
		{"label selector", "GET", maps + "?labelSelector=a%3D%3D%3D", "", "", 400, "found '=', expected: identifier"},
		{"field selector", "GET", maps + "?fieldSelector=data.a%3Dx", "", "", 400, `\"data.a\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"`},
		{"field selector of pods", "GET", "/api/v1/pods?fieldSelector=spec.foo%3Dx", "", "", 400, "field label not supported: spec.foo"},
		{"limit", "GET", maps + "?limit=x", "", "", 400, "strconv"},
		{"match without version", "GET", maps + "?resourceVersionMatch=Exact", "", "", 422, "resourceVersionMatch is forbidden unless resourceVersion is provided"},
		{"initial events of a list", "GET", maps + "?sendInitialEvents=true", "", "", 422, "sendInitialEvents is forbidden for list"},
		{"watch from nonsense", "GET", maps + "?watch=true&resourceVersion=x", "", "", 422, "resourceVersion"},
		{"namespace", "POST", "/api/v1/namespaces/none/configmaps", cm("a", ""), contentJSON, 404, `namespaces \"none\" not found`},
		{"immortal namespace", "DELETE", "/api/v1/namespaces/default", "", "", 403, `namespaces \"default\" is forbidden: this namespace may not be deleted`},
		{"priority class", "POST", "/api/v1/namespaces/default/pods", `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"priorityClassName":"vip","containers":[{"name":"c","image":"i"}]}}`,
			contentJSON, 403, `pods \"p\" is forbidden: no PriorityClass with name vip was found`},
		{"service account", "POST", "/api/v1/namespaces/default/pods", `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"serviceAccountName":"bot","containers":[{"name":"c","image":"i"}]}}`,
			contentJSON, 403, `pods \"p\" is forbidden: error looking up service account default/bot: serviceaccount \"bot\" not found`},
		{"delete precondition", "DELETE", c1, `{"preconditions":{"uid":"x"}}`, contentJSON, 409, `Operation cannot be fulfilled on ConfigMap \"c1\": the UID in the precondition (x) does not match the UID in record (`},
		{"delete options", "DELETE", c1, `{"propagationPolicy":"Sometimes"}`, contentJSON, 422, "propagationPolicy"},
		{"delete body", "DELETE", c1, `{"apiVersion":"v1","kind":"Secret"}`, contentJSON, 400, "cannot be handled as a DeleteOptions"},
		{"scale", "PATCH", "/apis/apps/v1/namespaces/default/deployments/web/scale", `{"spec":{"replicas":-1}}`, contentMerge, 422, "must be greater than or equal to 0"},
		{"binding without node", "POST", "/api/v1/namespaces/default/pods/p/binding", `{"apiVersion":"v1","kind":"Binding","metadata":{"name":"p"},"target":{}}`, contentJSON, 400, "target.name is required"},
		{"review of two things", "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", `{"spec":{}}`, contentJSON, 422, "exactly one of"},
		{"review that is read", "GET", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "", "", 405, "does not allow this method"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := c.ask(test.method, test.path, test.body, test.header)
			if a.StatusCode != test.code || !strings.Contains(a.body, test.want) {
				t.Errorf("%d %.600s\nwant %d ... %s ...", a.StatusCode, a.body, test.code, test.want)
			}
			if a.body[0] != '{' {
				return
			}
			var status metav1.Status
			if err := json.Unmarshal([]byte(a.body), &status); err != nil || status.Kind != "Status" || int(status.Code) != test.code || status.Status != "Failure" {
				t.Errorf("not a Status: %s, %v", a.body, err)
			}
		})
	}
}

func TestWhoMayAsk(t *testing.T) {
	c := start(t)
	c.defaultRoles()
	for _, test := range []struct {
		token, path string
		code        int
		want        string
	}{
		{"", "/livez", 200, "ok"},
		{"", "/readyz", 200, "ok"},
		{"", "/healthz", 200, "ok"},
		{"", "/version", 200, "v1.36.3+wherry"},
		{"", "/api/v1/pods", 403, `pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" at the cluster scope`},
		{"", "/", 403, `forbidden: User \"system:anonymous\" cannot get path \"/\"`},
		{"", "/metrics", 403, "system:anonymous"},
		{"", "/v2/", 403, "system:anonymous"},
		{"forged", "/livez", 401, `"message":"Unauthorized","reason":"Unauthorized","code":401`},
		{"jane", "/api/v1/namespaces/default/pods", 403, `pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"`},
		{"jane", "/api/v1/nodes/n", 403, `nodes \"n\" is forbidden: User \"jane\" cannot get resource \"nodes\" in API group \"\" at the cluster scope`},
		{"jane", "/metrics", 403, `forbidden: User \"jane\" cannot get path \"/metrics\"`},
		{"jane", "/api", 200, "APIVersions"},
		{"jane", "/openapi/v3", 200, "paths"},
		{"admin", "/metrics", 200, "apiserver_request_total"},
		{"admin", "/readyz?verbose", 200, "[+]ping ok\n[+]shutdown ok\nreadyz check passed"},
		{"admin", "/readyz/ping", 200, "ok"},
		{"admin", "/readyz?verbose&exclude=ping&exclude=b&exclude=a", 200, "[+]ping excluded: ok\n[+]shutdown ok\nwarn: some health checks cannot be excluded: no matches for \"a\", \"b\"\nreadyz check passed"},
		{"admin", "/readyz/none", 404, "404 page not found"},
		{"admin", "/v2/", 404, "404 page not found"},
	} {
		header := "Authorization: Bearer " + test.token
		if test.token == "" {
			header = "Authorization: "
		}
		a := c.ask("GET", test.path, "", header)
		if a.StatusCode != test.code || !strings.Contains(a.body, test.want) {
			t.Errorf("%q asks %s: %d %.300s\nwant %d %s", test.token, test.path, a.StatusCode, a.body, test.code, test.want)
		}
	}
}

func TestWarnings(t *testing.T) {
	c := start(t)
	loose := cm("w", `,"dta":{"a":"b"}`)
	if a := c.ask("POST", maps, loose, contentJSON); a.StatusCode != 201 || a.Header.Get("Warning") != `299 - "unknown field \"dta\""` {
		t.Errorf("%d, warning %q", a.StatusCode, a.Header.Values("Warning"))
	}
	if a := c.ask("PATCH", maps+"/w", `{"dta":1}`, contentMerge); a.StatusCode != 200 || a.Header.Get("Warning") != `299 - "unknown field \"dta\""` {
		t.Errorf("patch: %d, warning %q", a.StatusCode, a.Header.Values("Warning"))
	}
	if a := c.ask("PUT", maps+"/w?fieldValidation=Ignore", loose, contentJSON); a.StatusCode != 200 || a.Header.Get("Warning") != "" {
		t.Errorf("ignored: %d, warning %q", a.StatusCode, a.Header.Values("Warning"))
	}
	owners := `,"ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"p","uid":"u"},{"apiVersion":"v1","kind":"Pod","name":"p","uid":"u"}]`
	a := c.ask("POST", maps, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"o"`+owners+`}}`, contentJSON)
	if a.StatusCode != 201 || strings.Count(a.body, `"uid":"u"`) != 1 || !strings.Contains(a.Header.Get("Warning"), "duplicate") {
		t.Errorf("owners twice: %s, warning %q", a.body, a.Header.Get("Warning"))
	}
}

func TestForms(t *testing.T) {
	c := start(t)
	ensure(c, newConfigMap("c1"), newPod("p"))
	for _, test := range []struct{ path, accept, contentType, want string }{
		{c1, "application/yaml", "application/yaml", "apiVersion: v1\ndata:\n  a: \"1\"\nkind: ConfigMap\n"},
		{maps, "application/yaml", "application/yaml", "kind: ConfigMapList\n"},
		{c1 + "?pretty=true", "application/json", "application/json", "{\n  \"kind\": \"ConfigMap\",\n  \"apiVersion\": \"v1\",\n"},
		{maps + "?pretty=1", "", "application/json", "  \"items\": [\n    {\n      \"metadata\": {\n"},
		{c1, "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "application/json", `{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"c1"`},
		{maps, "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", "application/json", `{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1"`},
		{c1, "application/json;as=Table;v=v1;g=meta.k8s.io", "application/json", `{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"`},
		{maps, "application/json;as=Table;v=v1;g=meta.k8s.io", "application/json", `"rows":[{"cells":["c1",1,`},
		{maps + "?includeObject=None", "application/json;as=Table;v=v1;g=meta.k8s.io", "application/json", `"object":null}]}`},
		{maps + "?includeObject=Object", "application/json;as=Table;v=v1;g=meta.k8s.io", "application/json", `"object":{"kind":"ConfigMap","apiVersion":"v1","metadata"`},
		{"/api/v1/namespaces/none/configmaps", "", "application/json", `"items":[]}`},
		{c1, "application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf", "k8s\x00"},
	} {
		a := c.ask("GET", test.path, "", "Accept: "+test.accept)
		if a.StatusCode != 200 || a.Header.Get("Content-Type") != test.contentType || !strings.Contains(a.body, test.want) {
			t.Errorf("%s as %s: %d %s %q\nwant %q", test.path, test.accept, a.StatusCode, a.Header.Get("Content-Type"), a.body, test.want)
		}
	}
	if a := c.ask("POST", maps, "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: why\n", "Content-Type: application/yaml"); a.StatusCode != 201 {
		t.Errorf("YAML: %s", a.body)
	}
}

func TestLargeAnswersAreCompressed(t *testing.T) {
	c := start(t)
	big := newConfigMap("big")
	big.Data["x"] = strings.Repeat("x", 200_000)
	ensure(c, big, newConfigMap("small"))
	plain := c.ask("GET", maps+"/big", "")
	zipped := c.ask("GET", maps+"/big", "", "Accept-Encoding: gzip")
	if zipped.Header.Get("Content-Encoding") != "gzip" || len(zipped.body) > 10_000 {
		t.Fatalf("%d bytes, %v", len(zipped.body), zipped.Header)
	}
	reader, err := gzip.NewReader(strings.NewReader(zipped.body))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(reader); err != nil || string(b) != plain.body {
		t.Errorf("%d bytes, want %d, %v", len(b), len(plain.body), err)
	}
	for path, header := range map[string]string{maps + "/small": "gzip", maps + "/big": "gzip;q=0", maps: "identity"} {
		if a := c.ask("GET", path, "", "Accept-Encoding: "+header); a.Header.Get("Content-Encoding") != "" || a.StatusCode != 200 {
			t.Errorf("%s, %s: %v", path, header, a.Header)
		}
	}
}

func TestDryRunWritesNothing(t *testing.T) {
	c := start(t)
	ensure(c, newConfigMap("c1"), newPod("p"))
	before := c.state.Revision()
	for _, test := range []struct {
		method, path, body, header string
		code                       int
	}{
		{"POST", maps + "?dryRun=All", cm("new", ""), contentJSON, 201},
		{"PUT", c1 + "?dryRun=All", cm("c1", ""), contentJSON, 200},
		{"PATCH", c1 + "?dryRun=All", `{"data":{"z":"1"}}`, contentMerge, 200},
		{"PATCH", maps + "/new?dryRun=All&fieldManager=m", cm("new", ""), contentApply, 201},
		{"DELETE", c1 + "?dryRun=All", "", "", 200},
		{"DELETE", c1, `{"dryRun":["All"]}`, contentJSON, 200},
		{"DELETE", maps + "?dryRun=All", "", "", 200},
		{"POST", "/api/v1/namespaces/default/pods/p/binding?dryRun=All", `{"target":{"name":"n"}}`, contentJSON, 201},
		{"POST", "/api/v1/namespaces/default/pods/p/eviction?dryRun=All", `{}`, contentJSON, 201},
	} {
		if a := c.ask(test.method, test.path, test.body, test.header); a.StatusCode != test.code {
			t.Errorf("%s %s: %d %s", test.method, test.path, a.StatusCode, a.body)
		}
	}
	if after := c.state.Revision(); after != before {
		t.Errorf("revision %d became %d", before, after)
	}
}

// Of some kinds Kubernetes shows what was deleted, of others a Status.
func TestWhatADeletionAnswers(t *testing.T) {
	c := start(t)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "default"}}
	create(c, account)
	ensure(c, newConfigMap("c1"), newPod("p"), newService("s"))
	for path, kind := range map[string]string{
		"configmaps/c1": "Status", "pods/p": "Pod", "services/s": "Service", "serviceaccounts/a": "ServiceAccount",
	} {
		a := c.ask("DELETE", "/api/v1/namespaces/default/"+path, "")
		if a.StatusCode != 200 || !strings.HasPrefix(a.body, fmt.Sprintf(`{"kind":%q,"apiVersion":"v1"`, kind)) {
			t.Errorf("%s: %d %s", path, a.StatusCode, a.body)
		}
	}
}

func FuzzRequest(f *testing.F) {
	f.Add("GET", "/api/v1/namespaces/default/configmaps/c1", "", "")
	f.Add("POST", maps, "application/json", cm("x", ""))
	f.Add("PATCH", c1, "application/json-patch+json", `[{"op":"add","path":"/data/x","value":"y"}]`)
	f.Add("PATCH", c1+"?fieldManager=m", "application/apply-patch+yaml", "apiVersion: v1\nkind: ConfigMap\n")
	f.Add("PATCH", c1, "application/strategic-merge-patch+json", `{"$patch":"replace"}`)
	f.Add("DELETE", c1, "application/vnd.kubernetes.protobuf", "k8s\x00")
	f.Add("GET", "/api/v1/watch/namespaces/default/pods/x?timeoutSeconds=1", "", "")
	c := start(f)
	ensure(c, newConfigMap("c1"))
	f.Fuzz(func(t *testing.T, method, path, contentType, body string) {
		if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, " \r\n\x00") || strings.Contains(path, "watch") || strings.ContainsAny(method, " \r\n/") || method == "" {
			t.Skip()
		}
		defer func() {
			if cause := recover(); cause != nil && strings.Contains(fmt.Sprint(cause), "invalid") {
				t.Skip() // httptest refuses the URL
			}
		}()
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer admin")
		r.Header["Content-Type"] = []string{contentType}
		w := httptest.NewRecorder()
		c.server.Handler().ServeHTTP(w, r)
		if w.Code == 500 && strings.Contains(w.Body.String(), "panicked") {
			t.Errorf("%s %s: %s", method, path, w.Body)
		}
	})
}
