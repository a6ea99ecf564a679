package ociregistry_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"wherry/orchestrator/ociregistry"
)

// served is a registry behind a real server.
type served struct {
	*testing.T
	dir      string
	registry *ociregistry.Registry
	server   *httptest.Server
}

func serve(t *testing.T, dir string, o ociregistry.Options) *served {
	t.Helper()
	o.Logger = slog.New(slog.DiscardHandler)
	g, err := ociregistry.New(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	s := &served{t, dir, g, httptest.NewServer(g)}
	t.Cleanup(s.stop)
	return s
}

func (s *served) stop() {
	if s.server == nil {
		return
	}
	s.server.Close()
	s.server = nil
	if err := s.registry.Close(); err != nil {
		s.Error(err)
	}
}

func (s *served) ref(image string) name.Reference {
	s.Helper()
	r, err := name.ParseReference(strings.TrimPrefix(s.server.URL, "http://") + "/" + image)
	if err != nil {
		s.Fatal(err)
	}
	return r
}

func (s *served) push(image string, img v1.Image) {
	s.Helper()
	if err := remote.Write(s.ref(image), img); err != nil {
		s.Fatalf("push %s: %v", image, err)
	}
}

// pull reads everything and checks all digests.
func (s *served) pull(image string) v1.Image {
	s.Helper()
	img, err := remote.Image(s.ref(image))
	if err != nil {
		s.Fatalf("pull %s: %v", image, err)
	}
	if err := validate.Image(img); err != nil {
		s.Fatalf("pull %s: %v", image, err)
	}
	return img
}

func digest(t *testing.T, x interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	h, err := x.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}

func randomImage(t *testing.T) v1.Image {
	t.Helper()
	img, err := random.Image(50_000, 3)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// answer is what a request got.
type answer struct {
	status int
	header http.Header
	body   string
}

func (s *served) do(method, path, body string, header ...string) answer {
	s.Helper()
	req, err := http.NewRequest(method, s.server.URL+path, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}

// code is the error code of an answer, "" if it is none.
func (a answer) code() string {
	var e struct {
		Errors []struct{ Code, Message string }
	}
	if json.Unmarshal([]byte(a.body), &e) != nil || len(e.Errors) != 1 || e.Errors[0].Message == "" {
		return ""
	}
	return e.Errors[0].Code
}

func (s *served) expect(a answer, status int, code string) {
	s.Helper()
	if a.status != status || a.code() != code {
		s.Errorf("%d %q, want %d %q: %s", a.status, a.code(), status, code, a.body)
	}
}

func sha(content string) string {
	h, _, err := v1.SHA256(strings.NewReader(content))
	if err != nil {
		panic(err)
	}
	return h.String()
}

// blob uploads content in one request.
func (s *served) blob(repository, content string) string {
	s.Helper()
	d := sha(content)
	s.expect(s.do("POST", "/v2/"+repository+"/blobs/uploads/?digest="+d, content, "Content-Type", "application/octet-stream"), 201, "")
	return d
}

func TestImages(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir, ociregistry.Options{})
	img := randomImage(t)
	s.push("team/app:v1", img)
	want := digest(t, img)
	if got := digest(t, s.pull("team/app:v1")); got != want {
		t.Errorf("by tag: %s, want %s", got, want)
	}
	if got := digest(t, s.pull("team/app@"+want)); got != want {
		t.Errorf("by digest: %s, want %s", got, want)
	}
	if d, err := remote.Head(s.ref("team/app:v1")); err != nil || d.Digest.String() != want {
		t.Errorf("head: %v, %v", d, err)
	}
	s.stop()

	s = serve(t, dir, ociregistry.Options{})
	if got := digest(t, s.pull("team/app:v1")); got != want {
		t.Errorf("after a restart: %s, want %s", got, want)
	}
	other := randomImage(t)
	s.push("team/app:v1", other)
	if got := digest(t, s.pull("team/app:v1")); got != digest(t, other) {
		t.Errorf("a tag that moved: %s", got)
	}
	s.pull("team/app@" + want)
}

func TestAnIndexOfImages(t *testing.T) {
	s := serve(t, t.TempDir(), ociregistry.Options{})
	idx, err := random.Index(10_000, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(s.ref("app:multi"), idx); err != nil {
		t.Fatal(err)
	}
	got, err := remote.Index(s.ref("app:multi"))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(got); err != nil {
		t.Error(err)
	}
}

func TestAWasmArtifact(t *testing.T) {
	s := serve(t, t.TempDir(), ociregistry.Options{})
	module := []byte("\x00asm\x01\x00\x00\x00")
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), "application/vnd.wasm.config.v0+json")
	img, err := mutate.AppendLayers(img, static.NewLayer(module, "application/wasm"))
	if err != nil {
		t.Fatal(err)
	}
	s.push("hello:v1", img)
	got, err := remote.Image(s.ref("hello:v1"))
	if err != nil {
		t.Fatal(err)
	}
	layers, err := got.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	r, err := layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(b, module) {
		t.Errorf("the module came back as %x, %v", b, err)
	}
}

func TestManyPushAtOnce(t *testing.T) {
	s := serve(t, t.TempDir(), ociregistry.Options{})
	shared := randomImage(t)
	var group sync.WaitGroup
	for i := range 8 {
		layer, err := random.Layer(10_000, types.OCILayer)
		if err != nil {
			t.Fatal(err)
		}
		img, err := mutate.AppendLayers(shared, layer)
		if err != nil {
			t.Fatal(err)
		}
		group.Go(func() {
			if err := remote.Write(s.ref(fmt.Sprintf("app%d:v1", i%4)), img); err != nil {
				t.Errorf("push: %v", err)
			}
			if err := remote.Write(s.ref(fmt.Sprintf("app%d:t%d", i%4, i)), shared); err != nil {
				t.Errorf("push: %v", err)
			}
		})
	}
	group.Wait()
	for i := range 8 {
		if got := digest(t, s.pull(fmt.Sprintf("app%d:t%d", i%4, i))); got != digest(t, shared) {
			t.Errorf("app%d:t%d: %s", i%4, i, got)
		}
		s.pull(fmt.Sprintf("app%d:v1", i%4))
	}
}

func TestCrossRepositoryMount(t *testing.T) {
	s := serve(t, t.TempDir(), ociregistry.Options{})
	d := s.blob("a", "shared")
	got := s.do("POST", "/v2/b/blobs/uploads/?mount="+d+"&from=a", "")
	s.expect(got, 201, "")
	if l := got.header.Get("Location"); l != "/v2/b/blobs/"+d {
		t.Errorf("location %q", l)
	}
	s.expect(s.do("POST", "/v2/b/blobs/uploads/?mount="+sha("else")+"&from=a", ""), 202, "")
	s.expect(s.do("POST", "/v2/b/blobs/uploads/?mount="+d+"&from=../a", ""), 400, "NAME_INVALID")

	s.expect(s.do("DELETE", "/v2/a/blobs/"+d, ""), 202, "")
	s.expect(s.do("GET", "/v2/a/blobs/"+d, ""), 404, "BLOB_UNKNOWN")
	if got := s.do("GET", "/v2/b/blobs/"+d, ""); got.body != "shared" {
		t.Errorf("the other holder got %d %s", got.status, got.body)
	}
	s.expect(s.do("DELETE", "/v2/b/blobs/"+d, ""), 202, "")
	s.expect(s.do("DELETE", "/v2/b/blobs/"+d, ""), 404, "BLOB_UNKNOWN")
	if left := files(t, filepath.Join(s.dir, "blobs")); len(left) > 0 {
		t.Errorf("blobs that nobody holds: %v", left)
	}
}

func files(t *testing.T, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			list = append(list, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestAChunkedUpload(t *testing.T) {
	s := serve(t, t.TempDir(), ociregistry.Options{})
	at := s.do("POST", "/v2/a/blobs/uploads/", "").header.Get("Location")
	got := s.do("PATCH", at, "hello ", "Content-Range", "0-5")
	s.expect(got, 202, "")
	if r := got.header.Get("Range"); r != "0-5" {
		t.Errorf("range %q", r)
	}
	s.expect(s.do("PATCH", at, "again ", "Content-Range", "0-5"), 416, "BLOB_UPLOAD_INVALID")
	s.expect(s.do("PATCH", at, "world", "Content-Range", "9-13"), 416, "BLOB_UPLOAD_INVALID")
	s.expect(s.do("PATCH", at, "world", "Content-Range", "6-7"), 416, "BLOB_UPLOAD_INVALID")
	s.expect(s.do("PATCH", at, "world", "Content-Range", "some"), 416, "BLOB_UPLOAD_INVALID")
	got = s.do("GET", at, "")
	s.expect(got, 204, "")
	if r := got.header.Get("Range"); r != "0-5" {
		t.Errorf("range %q after chunks that were refused", r)
	}
	s.expect(s.do("PATCH", at, "wor", "Content-Range", "6-8"), 202, "")
	s.expect(s.do("PUT", at+"?digest="+sha("hello world"), "ld", "Content-Range", "9-10"), 201, "")
	if got := s.do("GET", "/v2/a/blobs/"+sha("hello world"), ""); got.body != "hello world" {
		t.Errorf("blob: %d %s", got.status, got.body)
	}
	s.expect(s.do("PATCH", at, "more"), 404, "BLOB_UPLOAD_UNKNOWN")
}

func TestUploadsThatEnd(t *testing.T) {
	s := serve(t, t.TempDir(), ociregistry.Options{MaxUploads: 2, MaxBlob: 100})
	begin := func() string { return s.do("POST", "/v2/a/blobs/uploads/", "").header.Get("Location") }

	at := begin()
	s.expect(s.do("PUT", at+"?digest="+sha("right"), "wrong"), 400, "DIGEST_INVALID")
	s.expect(s.do("GET", at, ""), 404, "BLOB_UPLOAD_UNKNOWN")

	at = begin()
	s.expect(s.do("PUT", at+"?digest=sha256:abc", "x"), 400, "DIGEST_INVALID")
	s.expect(s.do("PUT", at, "x"), 400, "DIGEST_INVALID")
	s.expect(s.do("PATCH", at, strings.Repeat("x", 101)), 413, "SIZE_INVALID")
	s.expect(s.do("DELETE", at, ""), 204, "")
	s.expect(s.do("DELETE", at, ""), 404, "BLOB_UPLOAD_UNKNOWN")

	first, second := begin(), begin()
	s.expect(s.do("POST", "/v2/a/blobs/uploads/", ""), 429, "TOOMANYREQUESTS")
	s.expect(s.do("PATCH", strings.Replace(first, "/a/", "/b/", 1), "x"), 404, "BLOB_UPLOAD_UNKNOWN")
	s.expect(s.do("DELETE", first, ""), 204, "")
	s.expect(s.do("POST", "/v2/a/blobs/uploads/?digest="+sha("x"), "x"), 201, "")
	s.expect(s.do("PATCH", second, "x"), 202, "")
	if left := files(t, filepath.Join(s.dir, "uploads")); len(left) != 1 {
		t.Errorf("one upload is open, there are %v", left)
	}
}

func TestWhatAnEarlierProcessLeftIsRemoved(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir, ociregistry.Options{})
	kept := s.blob("a", "kept")
	at := s.do("POST", "/v2/a/blobs/uploads/", "").header.Get("Location")
	s.expect(s.do("PATCH", at, "half a blo"), 202, "")
	s.stop()
	torn := filepath.Join(dir, "uploads", "TORN")
	orphan := filepath.Join(dir, "blobs", "sha256", "ab", "ab"+strings.Repeat("0", 62))
	for _, path := range []string{torn, orphan} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("x"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	s = serve(t, dir, ociregistry.Options{})
	s.expect(s.do("PATCH", at, "b"), 404, "BLOB_UPLOAD_UNKNOWN")
	for _, path := range []string{torn, orphan} {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if got := s.do("GET", "/v2/a/blobs/"+kept, ""); got.body != "kept" {
		t.Errorf("the blob that is held: %d %s", got.status, got.body)
	}
}

func TestTwoCannotShareAFolder(t *testing.T) {
	s := serve(t, t.TempDir(), ociregistry.Options{})
	if _, err := ociregistry.New(s.dir, ociregistry.Options{}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second registry in the folder: %v", err)
	}
}

func TestBlobs(t *testing.T) {
	s := serve(t, t.TempDir(), ociregistry.Options{})
	d := s.blob("a", "0123456789")
	got := s.do("HEAD", "/v2/a/blobs/"+d, "")
	if got.status != 200 || got.header.Get("Content-Length") != "10" || got.header.Get("Docker-Content-Digest") != d {
		t.Errorf("head: %d %v", got.status, got.header)
	}
	got = s.do("GET", "/v2/a/blobs/"+d, "", "Range", "bytes=3-5")
	if got.status != 206 || got.body != "345" || got.header.Get("Content-Range") != "bytes 3-5/10" {
		t.Errorf("a range: %d %q %v", got.status, got.body, got.header)
	}
	s.expect(s.do("HEAD", "/v2/b/blobs/"+d, ""), 404, "")
	s.expect(s.do("GET", "/v2/b/blobs/"+d, ""), 404, "BLOB_UNKNOWN")
	s.expect(s.do("GET", "/v2/a/blobs/sha256:abc", ""), 400, "DIGEST_INVALID")
	empty := s.blob("a", "")
	s.expect(s.do("GET", "/v2/a/blobs/"+empty, ""), 200, "")
	if info, err := os.Stat(filepath.Join(s.dir, "blobs", "sha256", d[7:9], d[7:])); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("the file of the blob: %v, %v", info, err)
	}
}

const ociManifest = "application/vnd.oci.image.manifest.v1+json"

// manifest is an image manifest of a config and layers that were pushed.
func manifest(config string, more string) string {
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/x","digest":%q,"size":2},"layers":[]%s}`, ociManifest, config, more)
}

func TestManifestsAreChecked(t *testing.T) {
	s := serve(t, t.TempDir(), ociregistry.Options{})
	config := s.blob("a", "{}")
	good := manifest(config, "")
	for _, c := range []struct {
		name, reference, mediaType, body string
		status                           int
		code                             string
	}{
		{"good", "v1", ociManifest, good, 201, ""},
		{"by digest", sha(good), ociManifest, good, 201, ""},
		{"wrong digest", sha("x"), ociManifest, good, 400, "DIGEST_INVALID"},
		{"neither tag nor digest", "a:b", ociManifest, good, 400, "MANIFEST_INVALID"},
		{"a tag that is too long", strings.Repeat("t", 129), ociManifest, good, 400, "MANIFEST_INVALID"},
		{"another media type", "v1", "application/json", good, 400, "MANIFEST_INVALID"},
		{"no media type", "v1", "", good, 400, "MANIFEST_INVALID"},
		{"not JSON", "v1", ociManifest, "{", 400, "MANIFEST_INVALID"},
		{"nothing", "v1", ociManifest, "{}", 400, "MANIFEST_INVALID"},
		{"a Docker schema 1", "v1", "application/json", `{"schemaVersion":1}`, 400, "MANIFEST_INVALID"},
		{"a bad digest in it", "v1", ociManifest, manifest("sha256:abc", ""), 400, "MANIFEST_INVALID"},
		{"another algorithm", "v1", ociManifest, manifest("sha512:"+strings.Repeat("0", 128), ""), 400, "MANIFEST_INVALID"},
		{"a missing blob", "v1", ociManifest, manifest(sha("missing"), ""), 404, "MANIFEST_BLOB_UNKNOWN"},
		{"a missing manifest", "v1", "application/vnd.oci.image.index.v1+json",
			`{"schemaVersion":2,"manifests":[{"mediaType":"` + ociManifest + `","size":1,"digest":"` + sha("missing") + `"}]}`, 404, "MANIFEST_BLOB_UNKNOWN"},
		{"too large", "v1", ociManifest, good + strings.Repeat(" ", ociregistry.MaxManifest), 413, "SIZE_INVALID"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &served{t, s.dir, s.registry, s.server}
			s.expect(s.do("PUT", "/v2/a/manifests/"+c.reference, c.body, "Content-Type", c.mediaType), c.status, c.code)
		})
	}
	got := s.do("GET", "/v2/a/manifests/v1", "")
	if got.body != good || got.header.Get("Content-Type") != ociManifest || got.header.Get("Docker-Content-Digest") != sha(good) {
		t.Errorf("after all of them: %d %v %s", got.status, got.header, got.body)
	}
}

func TestDeleteManifests(t *testing.T) {
	s := serve(t, t.TempDir(), ociregistry.Options{})
	m := manifest(s.blob("a", "{}"), "")
	for _, tag := range []string{"v1", "v2", "v3"} {
		s.expect(s.do("PUT", "/v2/a/manifests/"+tag, m, "Content-Type", ociManifest), 201, "")
	}
	s.expect(s.do("DELETE", "/v2/a/manifests/v1", ""), 202, "")
	s.expect(s.do("GET", "/v2/a/manifests/v1", ""), 404, "MANIFEST_UNKNOWN")
	s.expect(s.do("DELETE", "/v2/a/manifests/v1", ""), 404, "MANIFEST_UNKNOWN")
	s.expect(s.do("GET", "/v2/a/manifests/v2", ""), 200, "")
	s.expect(s.do("DELETE", "/v2/a/manifests/"+sha(m), ""), 202, "")
	for _, reference := range []string{"v2", "v3", sha(m)} {
		s.expect(s.do("GET", "/v2/a/manifests/"+reference, ""), 404, "MANIFEST_UNKNOWN")
	}
	if got := s.do("GET", "/v2/a/tags/list", ""); got.body != `{"name":"a","tags":[]}` {
		t.Errorf("tags: %s", got.body)
	}
	s.expect(s.do("DELETE", "/v2/other/manifests/v1", ""), 404, "MANIFEST_UNKNOWN")
	s.expect(s.do("GET", "/v2/other/manifests/v1", ""), 404, "NAME_UNKNOWN")
}

func TestListsComeInPages(t *testing.T) {
	s := serve(t, t.TempDir(), ociregistry.Options{})
	m := manifest(s.blob("team/a", "{}"), "")
	want := []string{"B", "a", "b", "v1", "v10", "v2"}
	for _, tag := range []string{"v2", "a", "v10", "b", "B", "v1"} {
		s.expect(s.do("PUT", "/v2/team/a/manifests/"+tag, m, "Content-Type", ociManifest), 201, "")
	}
	for _, n := range []int{1, 2, 3, 6, 100} {
		var all []string
		next := fmt.Sprintf("/v2/team/a/tags/list?n=%d", n)
		for next != "" {
			got := s.do("GET", next, "")
			var page struct{ Tags []string }
			if err := json.Unmarshal([]byte(got.body), &page); err != nil || len(page.Tags) > n {
				t.Fatalf("page of %d: %s, %v", n, got.body, err)
			}
			all = append(all, page.Tags...)
			next, _, _ = strings.Cut(strings.TrimPrefix(got.header.Get("Link"), "<"), ">")
		}
		if d := cmp.Diff(want, all); d != "" {
			t.Errorf("in pages of %d (-want +got):\n%s", n, d)
		}
	}
	tags, err := remote.List(s.ref("team/a").Context())
	if err != nil || !cmp.Equal(tags, want) {
		t.Errorf("go-containerregistry lists %v, %v", tags, err)
	}
	if got := s.do("GET", "/v2/team/a/tags/list?n=0", ""); got.status != 200 || !strings.Contains(got.body, `"tags":[]`) {
		t.Errorf("n=0: %d %s", got.status, got.body)
	}
	s.expect(s.do("GET", "/v2/team/a/tags/list?n=x", ""), 400, "PAGINATION_NUMBER_INVALID")
	s.expect(s.do("GET", "/v2/none/tags/list", ""), 404, "NAME_UNKNOWN")
	s.blob("other", "x")
	if got := s.do("GET", "/v2/_catalog", ""); got.body != `{"repositories":["other","team/a"]}` {
		t.Errorf("catalog: %s", got.body)
	}
}

func TestReferrers(t *testing.T) {
	s := serve(t, t.TempDir(), ociregistry.Options{})
	config := s.blob("a", "{}")
	subject := manifest(config, "")
	s.expect(s.do("PUT", "/v2/a/manifests/v1", subject, "Content-Type", ociManifest), 201, "")
	refers := func(kind string) string {
		return manifest(config, fmt.Sprintf(`,"artifactType":%q,"annotations":{"k":"v"},"subject":{"mediaType":%q,"size":%d,"digest":%q}`, kind, ociManifest, len(subject), sha(subject)))
	}
	for _, kind := range []string{"a/signature", "a/sbom"} {
		got := s.do("PUT", "/v2/a/manifests/"+sha(refers(kind)), refers(kind), "Content-Type", ociManifest)
		s.expect(got, 201, "")
		if h := got.header.Get("OCI-Subject"); h != sha(subject) {
			t.Errorf("OCI-Subject %q", h)
		}
	}
	list := func(query string) v1.IndexManifest {
		var idx v1.IndexManifest
		got := s.do("GET", "/v2/a/referrers/"+sha(subject)+query, "")
		if err := json.Unmarshal([]byte(got.body), &idx); err != nil || got.header.Get("Content-Type") != string(types.OCIImageIndex) {
			t.Fatalf("referrers: %v %s", got.header, got.body)
		}
		return idx
	}
	if n := len(list("").Manifests); n != 2 {
		t.Errorf("%d referrers", n)
	}
	only := list("?artifactType=a/sbom").Manifests
	if len(only) != 1 || only[0].Digest.String() != sha(refers("a/sbom")) || only[0].Annotations["k"] != "v" || only[0].Size != int64(len(refers("a/sbom"))) {
		t.Errorf("filtered: %+v", only)
	}
	idx, err := remote.Referrers(s.ref("a@" + sha(subject)).(name.Digest))
	if err != nil {
		t.Fatal(err)
	}
	if m, err := idx.IndexManifest(); err != nil || len(m.Manifests) != 2 {
		t.Errorf("go-containerregistry sees %+v, %v", m, err)
	}
	s.expect(s.do("DELETE", "/v2/a/manifests/"+sha(refers("a/sbom")), ""), 202, "")
	if n := len(list("").Manifests); n != 1 {
		t.Errorf("%d referrers after one was deleted", n)
	}
}

func TestNothingEscapes(t *testing.T) {
	s := serve(t, t.TempDir(), ociregistry.Options{})
	for path, want := range map[string]string{
		"/v2/../../etc/passwd":                                "NAME_UNKNOWN",
		"/v2/%2e%2e/%2e%2e/manifests/v1":                      "NAME_INVALID",
		"/v2/a/../b/manifests/v1":                             "NAME_INVALID",
		"/v2/A/manifests/v1":                                  "NAME_INVALID",
		"/v2/a//b/manifests/v1":                               "NAME_INVALID",
		"/v2/_x/manifests/v1":                                 "NAME_INVALID",
		"/v2/a%00b/manifests/v1":                              "NAME_INVALID",
		"/v2/" + strings.Repeat("a", 256) + "/manifests/v1":   "NAME_INVALID",
		"/v2/a/manifests/..":                                  "MANIFEST_INVALID",
		"/v2/a/manifests/%2e%2e%2fx":                          "NAME_UNKNOWN",
		"/v2/a/blobs/..":                                      "DIGEST_INVALID",
		"/v2/a/blobs/sha256:../../../../etc/passwd":           "NAME_UNKNOWN",
		"/v2/a/blobs/sha256:" + strings.Repeat("../", 21)[1:]: "NAME_UNKNOWN",
		"/v2/a/blobs/uploads/..":                              "BLOB_UPLOAD_UNKNOWN",
		"/v2/a/nonsense":                                      "NAME_UNKNOWN",
		"/v3/":                                                "NAME_UNKNOWN",
		"/v2x":                                                "NAME_UNKNOWN",
	} {
		w := httptest.NewRecorder()
		req, err := http.NewRequest("GET", "http://r"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.registry.ServeHTTP(w, req)
		if got := (answer{w.Code, w.Header(), w.Body.String()}).code(); got != want {
			t.Errorf("%s: %d %q, want %q", path, w.Code, got, want)
		}
	}
	s.expect(s.do("POST", "/v2/a/manifests/v1", ""), 405, "UNSUPPORTED")
	s.expect(s.do("GET", "/v2/", ""), 200, "")
	var e *transport.Error
	if _, err := remote.Image(s.ref("none:v1")); !errors.As(err, &e) || e.StatusCode != 404 {
		t.Errorf("go-containerregistry understands an image that is not there as %v", err)
	}
}
