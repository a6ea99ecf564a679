package image

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"wherry/wasm/artifact"
)

// testRegistry is a registry in memory, for all hosts at once.
type testRegistry struct {
	t       *testing.T
	handler http.Handler

	mu       sync.Mutex
	requests []string // "GET host/v2/..."
	// refuse may answer instead; true: it has.
	refuse func(w http.ResponseWriter, r *http.Request) bool
}

func newRegistry(t *testing.T) *testRegistry {
	return &testRegistry{t: t, handler: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
}

// RoundTrip serves a request in memory.
func (r *testRegistry) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.requests = append(r.requests, req.Method+" "+req.URL.Host+req.URL.Path)
	refuse := r.refuse
	r.mu.Unlock()
	served := req.Clone(req.Context())
	if served.Body == nil {
		served.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	if refuse == nil || !refuse(w, served) {
		r.handler.ServeHTTP(w, served)
	}
	answer := w.Result()
	answer.Request = req
	return answer, nil
}

func (r *testRegistry) count(part string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, req := range r.requests {
		if strings.Contains(req, part) {
			n++
		}
	}
	return n
}

func (r *testRegistry) intercept(f func(w http.ResponseWriter, r *http.Request) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuse = f
}

func (r *testRegistry) reference(ref string) name.Reference {
	r.t.Helper()
	parsed, err := name.ParseReference(ref)
	if err != nil {
		r.t.Fatal(err)
	}
	return parsed
}

// push pushes an image or an index.
func (r *testRegistry) push(ref string, what remote.Taggable) {
	r.t.Helper()
	var err error
	switch what := what.(type) {
	case v1.Image:
		err = remote.Write(r.reference(ref), what, remote.WithTransport(r))
	case v1.ImageIndex:
		err = remote.WriteIndex(r.reference(ref), what, remote.WithTransport(r))
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// module is a module with some bytes of its own.
func module(content string) []byte { return append([]byte("\x00asm\x01\x00\x00\x00"), content...) }

// wasmArtifact is an image with a blob as its module.
func wasmArtifact(blob []byte) v1.Image {
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), artifact.ConfigType)
	img, err := mutate.Append(img, mutate.Addendum{Layer: static.NewLayer(blob, artifact.LayerType)})
	if err != nil {
		panic(err)
	}
	return img
}

// rootfs is an image for a platform; each layer is a tar file.
func rootfs(os, arch string, process v1.Config, layers ...[]byte) v1.Image {
	img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: os, Architecture: arch, Config: process})
	if err != nil {
		panic(err)
	}
	for _, content := range layers {
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
		if err == nil {
			img, err = mutate.AppendLayers(img, layer)
		}
		if err != nil {
			panic(err)
		}
	}
	return img
}

// tarOf is a tar file: of "name -> target" a symbolic link, of all else a file with the content that follows.
func tarOf(entries ...string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for len(entries) > 0 {
		var h tar.Header
		content := ""
		if from, to, ok := strings.Cut(entries[0], " -> "); ok {
			h = tar.Header{Typeflag: tar.TypeSymlink, Name: from, Linkname: to}
		} else if from, to, ok := strings.Cut(entries[0], " == "); ok {
			h = tar.Header{Typeflag: tar.TypeLink, Name: from, Linkname: to}
		} else {
			content = entries[1]
			h = tar.Header{Typeflag: tar.TypeReg, Name: entries[0], Size: int64(len(content)), Mode: 0o644}
			entries = entries[1:]
		}
		entries = entries[1:]
		if err := w.WriteHeader(&h); err != nil {
			panic(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func digestOf(t *testing.T, what interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	h, err := what.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}

func pullSecret(host, user, password string) []byte {
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	encoded, err := json.Marshal(map[string]any{"auths": map[string]any{host: map[string]string{"auth": auth}}})
	if err != nil {
		panic(err)
	}
	return encoded
}

func open(t *testing.T, c Config) *Images {
	t.Helper()
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	c.Logger = slog.New(slog.DiscardHandler)
	images, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return images
}
