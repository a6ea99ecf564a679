package audit

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
)

func lines(t *testing.T, path string) (all []auditv1.Event) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewScanner(bytes.NewReader(b))
	in.Buffer(nil, maxEvent+1)
	for in.Scan() {
		var e auditv1.Event
		if err := json.Unmarshal(in.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// run writes what f notes into a file.
func run(t *testing.T, c Config, f func(l *Log)) string {
	t.Helper()
	c.Path = filepath.Join(t.TempDir(), "audit", "audit.log")
	c.Logger = slog.New(slog.DiscardHandler)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		l := New(c)
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		f(l)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return c.Path
}

func TestStagesAndLevels(t *testing.T) {
	policy := &auditv1.Policy{OmitStages: []auditv1.Stage{auditv1.StagePanic}, Rules: []auditv1.PolicyRule{
		{Level: auditv1.LevelNone, Users: []string{"nobody"}},
		{Level: auditv1.LevelRequestResponse, Verbs: []string{"create"}, OmitStages: []auditv1.Stage{auditv1.StageRequestReceived}},
		{Level: auditv1.LevelMetadata},
	}}
	path := run(t, Config{Policy: policy}, func(l *Log) {
		if l.Begin(&Request{User: "nobody"}, auditv1.Event{}) != nil {
			t.Error("what is not to be noted is")
		}
		r := l.Begin(&Request{User: "jane", Verb: "create"}, auditv1.Event{AuditID: "1"})
		r.Sent([]byte(`{"metadata":{"name":"a","managedFields":[1]}}`))
		r.Answered([]byte(`no JSON`))
		r.Annotate("k", "v")
		r.Annotate("k", "later")
		r.Completed(201)
		r = l.Begin(&Request{User: "jane", Verb: "watch"}, auditv1.Event{AuditID: "2"})
		r.Started(200)
		r.Completed(200)
		r.Panicked(500)
	})
	var got []string
	for _, e := range lines(t, path) {
		got = append(got, string(e.AuditID)+string(e.Stage))
		if e.AuditID == "1" && (e.ResponseStatus.Code != 201 || string(e.RequestObject.Raw) != `{"metadata":{"name":"a","managedFields":[1]}}` || e.ResponseObject != nil || e.Annotations["k"] != "v") {
			t.Errorf("%+v", e)
		}
	}
	if all := strings.Join(got, " "); all != "1ResponseComplete 2RequestReceived 2ResponseStarted 2ResponseComplete" {
		t.Error(all)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	var none *Log
	none.Begin(&Request{}, auditv1.Event{}).Completed(200) // notes nothing
}

func TestManagedFieldsAreLeftOut(t *testing.T) {
	for object, want := range map[string]string{
		`{"metadata":{"managedFields":[1],"name":"a"}}`:                  `{"metadata":{"name":"a"}}`,
		`{"items":[{"metadata":{"managedFields":[1]}},7],"metadata":{}}`: `{"items":[{"metadata":{}},7],"metadata":{}}`,
		`[1]`: `[1]`,
	} {
		if got := string(withoutManagedFields([]byte(object))); got != want {
			t.Errorf("%s: %s", object, got)
		}
	}
}

// The log takes no more room than it was given, and keeps the newest.
func TestTurning(t *testing.T) {
	path := run(t, Config{MaxBytes: 4000, MaxFiles: 2}, func(l *Log) {
		for range 40 {
			l.Begin(&Request{}, auditv1.Event{UserAgent: strings.Repeat("x", 500)}).Completed(200)
			l.flush()
		}
	})
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 3 {
		t.Fatalf("%v, %v", entries, err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Size() > 4000 {
			t.Errorf("%s: %d bytes, %v", e.Name(), info.Size(), err)
		}
	}
}

func TestTooMuchIsDroppedAndCounted(t *testing.T) {
	l := New(Config{Path: filepath.Join(t.TempDir(), "a"), Logger: slog.New(slog.DiscardHandler)})
	for range 40 {
		l.Begin(&Request{}, auditv1.Event{UserAgent: strings.Repeat("x", maxEvent-2000)}).Completed(200)
	}
	if l.lost != 8 || len(l.pending) > maxPending {
		t.Errorf("%d lost, %d bytes wait", l.lost, len(l.pending))
	}
}

func TestLongEventsAreShortened(t *testing.T) {
	policy := &auditv1.Policy{Rules: []auditv1.PolicyRule{{Level: auditv1.LevelRequest}}}
	path := run(t, Config{Policy: policy}, func(l *Log) {
		r := l.Begin(&Request{}, auditv1.Event{})
		r.Sent([]byte(`"` + strings.Repeat("x", maxEvent) + `"`))
		r.Completed(200)
	})
	all := lines(t, path)
	if e := all[1]; e.RequestObject != nil || e.Annotations["audit.k8s.io/truncated"] != "true" {
		t.Errorf("%+v", e)
	}
}

func TestPolicyFiles(t *testing.T) {
	const head = "apiVersion: audit.k8s.io/v1\nkind: Policy\n"
	for text, want := range map[string]string{
		head + "rules: [{level: Metadata}]":              "",
		head + "rules: [{level: Metadata}]\nsurprise: 1": "unknown field",
		head: "it has no rules",
		"apiVersion: v1\nkind: Policy\nrules: [{level: None}]":                    "not an audit.k8s.io/v1 Policy",
		head + "rules: [{level: All}]":                                            `rules[0].level: unsupported value: "All"`,
		head + "rules: [{users: [a]}]":                                            "rules[0].level: required value",
		head + "omitStages: [Later]\nrules: [{level: None}]":                      `omitStages[0]: unsupported value: "Later"`,
		head + "rules: [{level: None, nonResourceURLs: [healthz]}]":               "must begin with a '/'",
		head + "rules: [{level: None, nonResourceURLs: ['/a*b']}]":                "must be the final character",
		head + "rules: [{level: None, nonResourceURLs: ['/a'], namespaces: [b]}]": "rules cannot apply to both",
		head + "rules: [{level: None, resources: [{group: v1/x}]}]":               "rules[0].resources[0].group",
		head + "rules: [{level: None, resources: [{resourceNames: [a]}]}]":        "requires at least one resource",
	} {
		path := filepath.Join(t.TempDir(), "policy.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := ReadPolicy(path)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s\n%v, want %q", text, err, want)
		}
	}
	if _, err := ReadPolicy(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there was read")
	}
}

func TestMatching(t *testing.T) {
	log := Request{User: "jane", Groups: []string{"dev"}, Verb: "get", Resource: true, Plural: "pods", Subresource: "log", Name: "a", Namespace: "default"}
	path := Request{User: "jane", Verb: "get", Path: "/openapi/v3"}
	group := func(g auditv1.GroupResources) auditv1.PolicyRule {
		return auditv1.PolicyRule{Resources: []auditv1.GroupResources{g}}
	}
	for i, tt := range []struct {
		rule auditv1.PolicyRule
		r    Request
		want bool
	}{
		{auditv1.PolicyRule{}, log, true},
		{auditv1.PolicyRule{Users: []string{"jane"}, UserGroups: []string{"x", "dev"}, Verbs: []string{"get"}}, log, true},
		{auditv1.PolicyRule{Users: []string{"joe"}}, log, false},
		{auditv1.PolicyRule{UserGroups: []string{"ops"}}, log, false},
		{auditv1.PolicyRule{Verbs: []string{"list"}}, log, false},
		{auditv1.PolicyRule{Namespaces: []string{"default"}}, log, true},
		{auditv1.PolicyRule{Namespaces: []string{""}}, log, false},
		{auditv1.PolicyRule{Namespaces: []string{"default"}}, path, false},
		{group(auditv1.GroupResources{}), log, true},
		{group(auditv1.GroupResources{Group: "apps"}), log, false},
		{group(auditv1.GroupResources{Group: "*", Resources: []string{"*"}}), log, true},
		{group(auditv1.GroupResources{Resources: []string{"pods"}}), log, false},
		{group(auditv1.GroupResources{Resources: []string{"pods/log"}}), log, true},
		{group(auditv1.GroupResources{Resources: []string{"pods/*"}}), log, true},
		{group(auditv1.GroupResources{Resources: []string{"*/log"}}), log, true},
		{group(auditv1.GroupResources{Resources: []string{"*/log"}, ResourceNames: []string{"b"}}), log, false},
		{auditv1.PolicyRule{NonResourceURLs: []string{"/openapi*"}}, path, true},
		{auditv1.PolicyRule{NonResourceURLs: []string{"/openapi"}}, path, false},
		{auditv1.PolicyRule{NonResourceURLs: []string{"*"}}, path, true},
		{auditv1.PolicyRule{NonResourceURLs: []string{"*"}}, log, false},
	} {
		if got := matches(&tt.rule, &tt.r); got != tt.want {
			t.Errorf("%d: %v", i, got)
		}
	}
}
