package media_test

import (
	"net/http/httptest"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"wherry/orchestrator/apiserver/media"
)

const (
	tableV1      = "application/json;as=Table;v=v1;g=meta.k8s.io"
	tableV1beta1 = "application/json;as=Table;v=v1beta1;g=meta.k8s.io"
	protobuf     = "application/vnd.kubernetes.protobuf"
)

func TestNegotiate(t *testing.T) {
	for _, test := range []struct {
		accept    string
		transform bool
		want      media.Type
	}{
		{"", true, media.Type{}},
		{"*/*", true, media.Type{}},
		{"application/*", true, media.Type{}},
		{"application/json, */*", true, media.Type{}},
		{"application/yaml", true, media.Type{Format: media.YAML}},
		{protobuf + ",application/json", true, media.Type{Format: media.Protobuf}},
		{protobuf + ";q=0.5,application/json", true, media.Type{}},
		{"text/html, application/json;q=0.1", true, media.Type{}},
		{tableV1 + "," + tableV1beta1 + ",application/json", true, media.Type{As: media.Table, Version: "v1"}},
		{tableV1 + "," + tableV1beta1 + ",application/json", false, media.Type{}},
		{tableV1beta1, true, media.Type{As: media.Table, Version: "v1beta1"}},
		{protobuf + ";as=Table;v=v1;g=meta.k8s.io," + tableV1, true, media.Type{As: media.Table, Version: "v1"}},
		{protobuf + ";as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", true, media.Type{Format: media.Protobuf, As: media.PartialList, Version: "v1"}},
		{"application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", true, media.Type{As: media.Partial, Version: "v1"}},
		{protobuf + ";stream=watch", true, media.Type{Format: media.Protobuf}},
		{"application/json;pretty=1", true, media.Type{Pretty: true}},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Accept", test.accept)
		got, err := media.Negotiate(r, test.transform)
		if err != nil || got != test.want {
			t.Errorf("%q: got %+v, %v; want %+v", test.accept, got, err, test.want)
		}
	}
}

func TestNegotiateRefuses(t *testing.T) {
	for _, accept := range []string{
		"text/html", "application/xml", "application/json;as=Table;v=v2;g=meta.k8s.io", "application/json;as=Chair;v=v1;g=meta.k8s.io",
		"application/json;stream=other", protobuf + ";as=Table;v=v1;g=meta.k8s.io",
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Accept", accept)
		_, err := media.Negotiate(r, true)
		if code := apierrors.ReasonForError(err); code != "NotAcceptable" {
			t.Errorf("%q: %v", accept, err)
		}
	}
}

func TestPretty(t *testing.T) {
	for _, test := range []struct {
		url, agent string
		want       bool
	}{
		{"/", "kubectl/v1.36", false},
		{"/", "curl/8", true},
		{"/", "Mozilla/5.0 (X11)", true},
		{"/?pretty=false", "curl/8", false},
		{"/?pretty=true", "kubectl/v1.36", true},
		{"/?pretty=nonsense", "curl/8", false},
	} {
		r := httptest.NewRequest("GET", test.url, nil)
		r.Header.Set("User-Agent", test.agent)
		got, err := media.Negotiate(r, true)
		if err != nil || got.Pretty != test.want {
			t.Errorf("%s by %s: pretty %v, %v", test.url, test.agent, got.Pretty, err)
		}
	}
}

func TestBody(t *testing.T) {
	for header, want := range map[string]media.Format{
		"": media.JSON, "application/json; charset=utf-8": media.JSON, "application/yaml": media.YAML, protobuf: media.Protobuf,
	} {
		if got, err := media.Body(header); err != nil || got != want {
			t.Errorf("%q: %v, %v", header, got, err)
		}
	}
	for _, header := range []string{"text/plain", "application", ";;"} {
		if _, err := media.Body(header); apierrors.ReasonForError(err) != "UnsupportedMediaType" {
			t.Errorf("%q: %v", header, err)
		}
	}
}

func FuzzNegotiate(f *testing.F) {
	f.Add(tableV1 + ",*/*;q=0.1")
	f.Add("a/b;c=\"d")
	f.Fuzz(func(t *testing.T, accept string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Accept"] = []string{accept}
		got, err := media.Negotiate(r, true)
		if err == nil && got.As != media.Object && got.Version != "v1" && got.Version != "v1beta1" {
			t.Errorf("%q: %+v", accept, got)
		}
	})
}
