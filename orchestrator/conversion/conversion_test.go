package conversion_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"wherry/orchestrator/conversion"
	"wherry/orchestrator/reach"
)

func boat() *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "example.org/v1", "kind": "Boat",
		"metadata": map[string]any{"name": "a", "namespace": "default", "uid": "u", "labels": map[string]any{"old": "yes"}, "generation": int64(3)},
	}}
}

// hook is a webhook that answers to a request of this uid with what answer makes of it.
func hook(t *testing.T, answer func(uid string) string) (*httptest.Server, *apiextensionsv1.WebhookConversion) {
	t.Helper()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review struct{ Request struct{ UID string } }
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			t.Errorf("the request: %v", err)
		}
		fmt.Fprint(w, answer(review.Request.UID))
	}))
	t.Cleanup(s.Close)
	return s, &apiextensionsv1.WebhookConversion{
		ConversionReviewVersions: []string{"v1"},
		ClientConfig: &apiextensionsv1.WebhookClientConfig{
			URL:      &s.URL,
			CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}),
		},
	}
}

func answered(uid, result, objects string) string {
	return fmt.Sprintf(`{"apiVersion":"apiextensions.k8s.io/v1","kind":"ConversionReview","response":{"uid":%q,"result":%s,"convertedObjects":[%s]}}`, uid, result, objects)
}

const (
	success = `{"status":"Success"}`
	good    = `{"apiVersion":"example.org/v2","kind":"Boat","metadata":{"name":"a","namespace":"default","uid":"u","labels":{"new":"yes"},"generation":9}}`
)

func TestAnswersAreJudged(t *testing.T) {
	for _, test := range []struct {
		name, want string
		answer     func(uid string) string
	}{
		{"nothing", "reading its answer", func(string) string { return "" }},
		{"no response", "no response provided", func(string) string { return `{"apiVersion":"apiextensions.k8s.io/v1","kind":"ConversionReview"}` }},
		{"another kind", "expected webhook response of", func(string) string { return `{"kind":"Pod","response":{}}` }},
		{"another request's", `expected response.uid=`, func(string) string { return answered("other", success, good) }},
		{"a failure", "failed: no boats today", func(uid string) string { return answered(uid, `{"status":"Failure","message":"no boats today"}`, "") }},
		{"a silent failure", "response.result.status was 'Failure', not 'Success'", func(uid string) string { return answered(uid, `{"status":"Failure"}`, "") }},
		{"too few", "returned 0 objects, expected 1", func(uid string) string { return answered(uid, success, "") }},
		{"null", "at index 0: there is none", func(uid string) string { return answered(uid, success, "null") }},
		{"the old version", "invalid groupVersion (expected example.org/v2, received example.org/v1)", func(uid string) string {
			return answered(uid, success, strings.Replace(good, "/v2", "/v1", 1))
		}},
		{"another object", "must have the same name: a != b", func(uid string) string {
			return answered(uid, success, strings.Replace(good, `"name":"a"`, `"name":"b"`, 1))
		}},
		{"wrong labels", "metadata.labels[new] must be a string, but is int64 in converted object", func(uid string) string {
			return answered(uid, success, strings.Replace(good, `{"new":"yes"}`, `{"new":1}`, 1))
		}},
	} {
		_, webhook := hook(t, test.answer)
		_, err := (&conversion.Webhooks{Post: new(reach.Webhooks)}).Convert(t.Context(), webhook, "example.org/v2", []*unstructured.Unstructured{boat()})
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "conversion webhook for example.org/v1, Kind=Boat") {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// Labels are the webhook's, the rest of metadata is not its business.
func TestMetadataIsKept(t *testing.T) {
	_, webhook := hook(t, func(uid string) string { return answered(uid, success, good) })
	out, err := (&conversion.Webhooks{Post: new(reach.Webhooks)}).Convert(t.Context(), webhook, "example.org/v2", []*unstructured.Unstructured{boat()})
	if err != nil {
		t.Fatal(err)
	}
	if u := out[0]; u.GetGeneration() != 3 || u.GetLabels()["new"] != "yes" || u.GetLabels()["old"] != "" {
		t.Errorf("%v", u.Object)
	}
}

// A webhook behind a Service is dialed by that, under the Service's name, and only trusted by its own authority.
func TestServiceIsDialed(t *testing.T) {
	s, webhook := hook(t, func(uid string) string { return answered(uid, success, good) })
	port, path := int32(8443), "/convert"
	webhook.ClientConfig.URL = nil
	webhook.ClientConfig.Service = &apiextensionsv1.ServiceReference{Namespace: "default", Name: "convert", Port: &port, Path: &path}
	var dialed []string
	webhooks := &conversion.Webhooks{Post: &reach.Webhooks{Dial: func(ctx context.Context, namespace, name string, port int32) (net.Conn, error) {
		dialed = append(dialed, fmt.Sprintf("%s/%s:%d", namespace, name, port))
		return (&net.Dialer{}).DialContext(ctx, "tcp", s.Listener.Addr().String())
	}}}
	_, err := webhooks.Convert(t.Context(), webhook, "example.org/v2", []*unstructured.Unstructured{boat()})
	if err == nil || !strings.Contains(err.Error(), "convert.default.svc") {
		t.Errorf("the certificate is another's: %v", err)
	}
	if len(dialed) != 1 || dialed[0] != "default/convert:8443" {
		t.Errorf("dialed %q", dialed)
	}
}
