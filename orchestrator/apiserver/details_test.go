package apiserver_test

import (
	"strings"
	"testing"
)

const (
	podP      = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i"}]}}`
	inDefault = "/api/v1/namespaces/default/"
)

// request is METHOD path, a header and a body.
type request struct{ method, path, header, body string }

// Details that clients can see and that only a comparison with kube-apiserver tells.
func TestDetailsOfAnswers(t *testing.T) {
	for _, test := range []struct {
		name   string
		before []request
		ask    request
		want   []string
		not    []string
	}{
		{
			name: "who writes stringData owns data",
			ask:  request{"POST", inDefault + "secrets", contentJSON, `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},"stringData":{"a":"b"}}`},
			want: []string{`"data":{"a":"Yg=="}`, `"f:data":{".":{},"f:a":{}}`}, not: []string{"stringData"},
		},
		{
			name:   "the older name of the account is nobody's",
			before: []request{{"POST", inDefault + "pods", contentJSON, podP}},
			ask:    request{"PATCH", inDefault + "pods/p", contentMerge, `{"metadata":{"labels":{"a":"b"}},"spec":{"serviceAccount":"other"}}`},
			want:   []string{`"f:labels"`}, not: []string{`"f:serviceAccount"`, `"other"`},
		},
		{
			name:   "a pod that goes at once is shown as it ends",
			before: []request{{"POST", inDefault + "pods", contentJSON, podP}},
			ask:    request{"DELETE", inDefault + "pods/p", "", ""},
			want:   []string{`"kind":"Pod"`, `"deletionGracePeriodSeconds":0`, `"deletionTimestamp"`, `"generation":2`},
		},
		{
			name:   "deleting many shows them as they were",
			before: []request{{"POST", maps, contentJSON, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","finalizers":["a.io/b"]}}`}},
			ask:    request{"DELETE", maps, "", ""},
			want:   []string{`"name":"a"`, `"metadata":{"resourceVersion":"`}, not: []string{`"deletionTimestamp"`},
		},
		{
			name: "whoever asks for a deprecated kind is warned",
			ask:  request{"GET", inDefault + "endpoints", "", ""},
			want: []string{`Warning: 299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"`},
		},
		{
			name:   "a status that is written is not warned of",
			before: []request{{"POST", inDefault + "services", contentJSON, `{"apiVersion":"v1","kind":"Service","metadata":{"name":"s"},"spec":{"externalIPs":["192.0.2.1"],"ports":[{"port":80}]}}`}},
			ask:    request{"PATCH", inDefault + "services/s/status", contentMerge, `{"status":{"conditions":[{"type":"A","status":"True","reason":"B","message":"","lastTransitionTime":"2020-01-01T00:00:00Z"}]}}`},
			want:   []string{`"reason":"B"`}, not: []string{"Warning:"},
		},
		{
			name: "an event of either group is named as core's",
			ask:  request{"POST", "/apis/events.k8s.io/v1/namespaces/default/events", contentJSON, `{"apiVersion":"events.k8s.io/v1","kind":"Event","metadata":{"name":"e"}}`},
			want: []string{`Event \"e\" is invalid`}, not: []string{"Event.events.k8s.io"},
		},
		{
			name: "what is applied may name a version when it is new",
			ask:  request{"PATCH", maps + "/new?fieldManager=m", "Content-Type: application/apply-patch+yaml", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"new","resourceVersion":"1"}}`},
			want: []string{`"name":"new"`, `"uid"`},
		},
		{
			name: "no metadata is null",
			ask:  request{"GET", inDefault + "secrets", "Accept: application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", ""},
			want: []string{`"items":null`},
		},
		{
			name:   "an immutable ConfigMap without data takes labels",
			before: []request{{"POST", maps, contentJSON, cm("fixed", `,"immutable":true`)}},
			ask:    request{"PATCH", maps + "/fixed", contentMerge, `{"metadata":{"labels":{"a":"b"}}}`},
			want:   []string{`"labels":{"a":"b"}`},
		},
		{
			name: "the last finalizer that goes is not shown any more",
			before: []request{
				{"POST", maps, contentJSON, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"held","finalizers":["a.io/b"]}}`},
				{"DELETE", maps + "/held", "", ""},
			},
			ask:  request{"PATCH", maps + "/held", contentMerge, `{"metadata":{"finalizers":null}}`},
			want: []string{`"name":"held"`, `"deletionTimestamp"`}, not: []string{"a.io/b\"]"},
		},
		{
			name:   "nobody waits for what depends on an Event",
			before: []request{{"POST", inDefault + "events", contentJSON, `{"apiVersion":"v1","kind":"Event","metadata":{"name":"e"},"involvedObject":{"namespace":"default"}}`}},
			ask:    request{"DELETE", inDefault + "events/e?propagationPolicy=Foreground", "", ""},
			want:   []string{`"status":"Success"`},
		},
		{
			name: "YAML that says a thing twice is warned of",
			ask:  request{"POST", maps, "Content-Type: application/yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: twice}\ndata: {a: b}\ndata: {a: c}\n"},
			want: []string{`Warning: 299 - "line 5: key \"data\" already set in map"`},
		},
		{
			name: "a version that is not reached is not read",
			ask:  request{"GET", c1 + "?resourceVersion=99999999", "", ""},
			want: []string{"Too large resource version: 99999999"},
		},
		{
			name: "a Job carries the labels of its pods",
			ask:  request{"POST", "/apis/batch/v1/namespaces/default/jobs", contentJSON, `{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"j"},"spec":{"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"i"}]}}}}`},
			want: []string{`Z","labels":{"batch.kubernetes.io/controller-uid":`},
		},
		{
			name:   "who deletes a Job is told what becomes of its pods",
			before: []request{{"POST", "/apis/batch/v1/namespaces/default/jobs", contentJSON, `{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"j"},"spec":{"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"i"}]}}}}`}},
			ask:    request{"DELETE", "/apis/batch/v1/namespaces/default/jobs/j", "", ""},
			want:   []string{"Warning: 299 - \"child pods are preserved by default when jobs are deleted"},
		},
		{
			name: "a pod that has ended is marked in tables",
			before: []request{
				{"POST", inDefault + "pods", contentJSON, podP},
				{"PATCH", inDefault + "pods/p/status", contentMerge, `{"status":{"phase":"Failed"}}`},
			},
			ask:  request{"GET", inDefault + "pods", "Accept: application/json;as=Table;v=v1;g=meta.k8s.io", ""},
			want: []string{`],"conditions":[{"type":"Completed","status":"True","reason":"Failed","message":"The pod failed."}],"object":{`},
		},
		{
			name:   "a pod that has not is not",
			before: []request{{"POST", inDefault + "pods", contentJSON, podP}},
			ask:    request{"GET", inDefault + "pods/p", "Accept: application/json;as=Table;v=v1;g=meta.k8s.io", ""},
			want:   []string{`"cells":["p","0/1","Pending"`}, not: []string{`"conditions"`},
		},
		{
			name: "what is not offered of a deprecated kind is not warned of",
			ask:  request{"DELETE", "/api/v1/componentstatuses/scheduler", "", ""},
			want: []string{`"code":405`}, not: []string{"Warning:"},
		},
		{
			name:   "options of a deletion that are not JSON",
			before: []request{{"POST", maps, contentJSON, cm("o", "")}},
			ask:    request{"DELETE", maps + "/o", contentJSON, "not json"},
			want:   []string{`"message":"couldn't get version/kind; json parse error: invalid character 'o' in literal null (expecting 'u')"`},
		},
		{
			name:   "a patch makes no other object",
			before: []request{{"POST", maps, contentJSON, cm("u", "")}},
			ask:    request{"PATCH", maps + "/u", contentMerge, `{"metadata":{"uid":"other"}}`},
			want:   []string{`"code":422`, "field is immutable"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := start(t)
			for _, r := range test.before {
				if a := c.ask(r.method, r.path, r.body, r.header); a.StatusCode >= 300 {
					t.Fatal(a.body)
				}
			}
			a := c.ask(test.ask.method, test.ask.path, test.ask.body, test.ask.header)
			seen := a.body
			for _, w := range a.Header.Values("Warning") {
				seen += "\nWarning: " + w
			}
			for _, want := range test.want {
				if !strings.Contains(seen, want) {
					t.Errorf("there is no %s in\n%s", want, seen)
				}
			}
			for _, not := range test.not {
				if strings.Contains(seen, not) {
					t.Errorf("there is %s in\n%s", not, seen)
				}
			}
		})
	}
}
