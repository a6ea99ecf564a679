package ociregistry

import (
	"strings"
	"testing"
)

func TestParsePath(t *testing.T) {
	for path, want := range map[string]target{
		"/v2":                                {kind: "base"},
		"/v2/":                               {kind: "base"},
		"/v2/_catalog":                       {kind: "catalog"},
		"/v2/a/b/tags/list":                  {"tags", "a/b", ""},
		"/v2/a/manifests/v1":                 {"manifest", "a", "v1"},
		"/v2/manifests/blobs/manifests/tags": {"manifest", "manifests/blobs", "tags"},
		"/v2/tags/list/tags/list":            {"tags", "tags/list", ""},
		"/v2/a/blobs/sha256:0":               {"blob", "a", "sha256:0"},
		"/v2/a/blobs/uploads/":               {"uploads", "a", ""},
		"/v2/a/blobs/uploads":                {"uploads", "a", ""},
		"/v2/a/blobs/uploads/X":              {"upload", "a", "X"},
		"/v2/blobs/uploads/blobs/uploads/X":  {"upload", "blobs/uploads", "X"},
		"/v2/a/referrers/sha256:0":           {"referrers", "a", "sha256:0"},
	} {
		if got, ok := parsePath(path); !ok || got != want {
			t.Errorf("%s: %+v, %t, want %+v", path, got, ok, want)
		}
	}
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"/v2/", "/v2/a/b/manifests/v1", "/v2/a/blobs/uploads/x", "/v2//tags/list", "/v2/../x/blobs/sha256:0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		to, ok := parsePath(path)
		if ok && validName(to.name) && (strings.Contains(to.name, "..") || strings.ContainsAny(to.name, "\\\x00") || strings.HasPrefix(to.name, "/")) {
			t.Errorf("%q names the repository %q", path, to.name)
		}
		if d, err := parseDigest(to.reference); err == nil && len(d) != len("sha256:")+64 {
			t.Errorf("%q is taken for a digest", to.reference)
		}
	})
}

func FuzzParseManifest(f *testing.F) {
	digest := "sha256:" + strings.Repeat("0", 64)
	f.Add([]byte(`{"schemaVersion":2,"config":{"digest":"`+digest+`"},"layers":[{"digest":"`+digest+`","urls":["x"]}]}`), "a/b")
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"`+digest+`"}],"subject":{"digest":"`+digest+`"}}`), "a/b")
	f.Add([]byte(`{"schemaVersion":2,"manifests":[null],"config":{}}`), "")
	f.Fuzz(func(t *testing.T, content []byte, mediaType string) {
		p, err := parseManifest(content, mediaType)
		if err != nil {
			return
		}
		for _, d := range append(p.blobs(), p.Manifests...) {
			if _, err := parseDigest(d.Digest.String()); err != nil {
				t.Errorf("a manifest with the digest %q was taken", d.Digest)
			}
		}
	})
}
