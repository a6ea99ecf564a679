package apiserver_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/kubernetes/scheme"

	"wherry/orchestrator/apiserver"
	"wherry/orchestrator/apiserver/audit"
)

// auditing runs f with an audit log, and returns its events.
func auditing(t *testing.T, policy *auditv1.Policy, f func(c *cluster)) (events []auditv1.Event, text string) {
	path := filepath.Join(t.TempDir(), "audit.log")
	log := audit.New(audit.Config{Policy: policy, Path: path})
	c := start(t, func(cfg *apiserver.Config) { cfg.Audit = log })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- log.Run(ctx) }()
	f(c)
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var e auditv1.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	return events, string(b)
}

const secretBody = `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},"stringData":{"password":"hunter2"}}`

func TestAuditByDefault(t *testing.T) {
	events, text := auditing(t, nil, func(c *cluster) {
		c.ask("POST", "/api/v1/namespaces/default/secrets", secretBody, contentJSON)
		c.ask("GET", "/livez", "")
		c.ask("GET", "/api/v1/namespaces/default/secrets/none?x=1", "")
		c.ask("GET", "/api/v1/nodes", "", "Authorization: Bearer jane")
		c.ask("GET", "/api/v1/nodes", "", "Authorization: Bearer forged")
	})
	if strings.Contains(text, "hunter2") || strings.Contains(text, "Bearer") {
		t.Error("secrets are in the audit log")
	}
	if len(events) != 4 {
		t.Fatalf("%d events:\n%s", len(events), text)
	}
	made, missing, denied, unknown := events[0], events[1], events[2], events[3]
	if made.Level != auditv1.LevelMetadata || made.Stage != auditv1.StageResponseComplete || made.Verb != "create" || made.User.Username != "admin" ||
		made.UserAgent != "test/1" || len(made.SourceIPs) != 1 || made.ObjectRef.Resource != "secrets" || made.ResponseStatus.Code != 201 ||
		made.Annotations["authorization.k8s.io/decision"] != "allow" || made.AuditID == "" || made.RequestReceivedTimestamp.IsZero() {
		t.Errorf("%+v", made)
	}
	if missing.ResponseStatus.Reason != "NotFound" || missing.RequestURI != "/api/v1/namespaces/default/secrets/none?x=1" || missing.ObjectRef.Name != "none" {
		t.Errorf("%+v", missing)
	}
	if denied.ResponseStatus.Code != 403 || denied.Annotations["authorization.k8s.io/decision"] != "forbid" || denied.User.Username != "jane" {
		t.Errorf("%+v", denied)
	}
	if unknown.ResponseStatus.Code != 401 || unknown.User.Username != "" {
		t.Errorf("%+v", unknown)
	}
}

func TestAuditOfObjects(t *testing.T) {
	policy := &auditv1.Policy{
		OmitManagedFields: true, OmitStages: []auditv1.Stage{auditv1.StageRequestReceived},
		Rules: []auditv1.PolicyRule{{Level: auditv1.LevelRequestResponse}},
	}
	const protobuf = "application/vnd.kubernetes.protobuf"
	var binary strings.Builder
	for _, info := range scheme.Codecs.SupportedMediaTypes() {
		if info.MediaType == protobuf {
			if err := scheme.Codecs.EncoderForVersion(info.Serializer, corev1.SchemeGroupVersion).Encode(newPod("b"), &binary); err != nil {
				t.Fatal(err)
			}
		}
	}
	events, _ := auditing(t, policy, func(c *cluster) {
		c.ask("POST", maps, cm("a", ""), contentJSON)
		c.ask("PATCH", maps+"/a?fieldManager=m&force=true", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n", "Content-Type: application/apply-patch+yaml")
		c.ask("POST", "/api/v1/namespaces/default/pods", binary.String(), "Content-Type: "+protobuf, "Accept: "+protobuf)
	})
	if len(events) != 3 {
		t.Fatalf("%d events", len(events))
	}
	for i, want := range []struct{ sent, back string }{
		{`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"`, `"kind":"ConfigMap"`},
		{`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}`, `"name":"a"`},
		{`"name":"b"`, `"phase":"Pending"`},
	} {
		sent, back := string(events[i].RequestObject.Raw), string(events[i].ResponseObject.Raw)
		if !strings.Contains(sent, want.sent) || !strings.Contains(back, want.back) || strings.Contains(back, "managedFields") {
			t.Errorf("%d: %s\n%s", i, sent, back)
		}
	}
}

// What admission notes about a request stands in its event.
func TestAdmissionAnnotatesAudit(t *testing.T) {
	events, text := auditing(t, nil, func(c *cluster) {
		c.ask("POST", "/api/v1/namespaces/default/pods", `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"hostNetwork":true,"containers":[{"name":"c","image":"i"}]}}`, contentJSON)
	})
	if len(events) != 1 || events[0].Annotations["pod-security.kubernetes.io/enforce-policy"] != "privileged:latest" {
		t.Errorf("%s", text)
	}
}
