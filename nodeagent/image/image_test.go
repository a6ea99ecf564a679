package image

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"wherry/nodeagent/runtime"
	"wherry/wasm/artifact"
)

// wantModule ensures the image and checks that its module is these bytes.
func wantModule(t *testing.T, images *Images, ref, policy string, want []byte) runtime.Image {
	t.Helper()
	img, err := images.Ensure(t.Context(), ref, policy, nil)
	if err != nil {
		t.Fatalf("%s: %v", ref, err)
	}
	got, err := os.ReadFile(img.Path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) || img.ContentDigest != artifact.Digest(want) || img.Kind != "wasm" || img.Ref != ref {
		t.Fatalf("%s: %+v with %q, want %q", ref, img, got, want)
	}
	return img
}

func wantError(t *testing.T, images *Images, ref, policy string, parts ...string) error {
	t.Helper()
	img, err := images.Ensure(t.Context(), ref, policy, nil)
	if err == nil {
		t.Fatalf("%s: %+v and no error", ref, img)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s: error %q does not say %q", ref, err, part)
		}
	}
	if left, _ := os.ReadDir(images.tmp()); len(left) != 0 {
		t.Errorf("%s: left %d temporary files", ref, len(left))
	}
	return err
}

func TestSources(t *testing.T) {
	ours, others := newRegistry(t), newRegistry(t)
	mine, theirs, hidden, elsewhere := module("mine"), module("theirs"), module("hidden"), module("elsewhere")
	ours.push("cluster.invalid/hello:v1", wasmArtifact(mine))
	others.push("docker.io/library/hello:v1", wasmArtifact(hidden))
	others.push("docker.io/library/other:latest", wasmArtifact(theirs))
	others.push("ghcr.io/x/y:v2", wasmArtifact(elsewhere))
	images := open(t, Config{ClusterRegistry: ours, Transport: others})

	first := wantModule(t, images, "hello:v1", "IfNotPresent", mine)
	wantModule(t, images, "docker.io/library/hello:v1", "IfNotPresent", hidden)
	wantModule(t, images, "other", "IfNotPresent", theirs)
	wantModule(t, images, "ghcr.io/x/y:v2", "IfNotPresent", elsewhere)
	wantModule(t, images, "hello@"+first.Digest, "Never", mine)
	wantError(t, images, "none:v1", "IfNotPresent", "pull cluster/none:v1", "pull index.docker.io/library/none:v1")
	if n := ours.count("ghcr.io") + ours.count("docker.io"); n != 0 {
		t.Errorf("%d requests for other registries went to the cluster's", n)
	}
	if info, err := os.Stat(first.Path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the module's file: %v, %v", info.Mode(), err)
	}

	ours.intercept(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	others.push("docker.io/library/mine:v1", wasmArtifact(hidden))
	before := len(others.requests)
	wantError(t, images, "mine:v1", "IfNotPresent", "503")
	if len(others.requests) != before {
		t.Error("an error of the cluster's registry made another one be asked")
	}
}

func TestPolicies(t *testing.T) {
	r := newRegistry(t)
	v1, v2 := module("1"), module("2")
	r.push("r.example/a:v", wasmArtifact(v1))
	dir := t.TempDir()
	images := open(t, Config{Dir: dir, Transport: r})
	ref := "r.example/a:v"

	if err := wantError(t, images, ref, "Never", ref); !errors.Is(err, runtime.ErrImageNeverPull) {
		t.Errorf("policy Never: %v", err)
	}
	if images.Present(t.Context(), ref) {
		t.Error("present before it was pulled")
	}
	wantModule(t, images, ref, "IfNotPresent", v1)
	if !images.Present(t.Context(), ref) {
		t.Error("not present after it was pulled")
	}
	r.push(ref, wasmArtifact(v2))
	wantModule(t, images, ref, "IfNotPresent", v1)
	wantModule(t, images, ref, "Never", v1)
	wantModule(t, images, ref, "Always", v2)
	blobs := r.count("GET r.example/v2/a/blobs/")
	wantModule(t, images, ref, "Always", v2)
	if n := r.count("GET r.example/v2/a/blobs/"); n != blobs {
		t.Errorf("%d blobs were pulled again", n-blobs)
	}

	r.intercept(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusBadGateway)
		return true
	})
	wantError(t, images, ref, "Always", "502")
	images = open(t, Config{Dir: dir, Transport: r}) // the machine restarts without a network
	wantModule(t, images, ref, "IfNotPresent", v2)
	wantError(t, images, "r.example/b:v", "IfNotPresent", "502")
	wantError(t, images, ref, "Sometimes", `"Sometimes"`)
}

func TestInvalidNames(t *testing.T) {
	images := open(t, Config{Transport: newRegistry(t)})
	for _, ref := range []string{"", "UPPER", "a b", "x:", "x@sha256:12", "x@sha512:" + strings.Repeat("0", 128), "../../etc/passwd", "a/../b", "a//b"} {
		if err := wantError(t, images, ref, "IfNotPresent"); !errors.Is(err, runtime.ErrInvalidImageName) {
			t.Errorf("%q: %v", ref, err)
		}
	}
}

func TestCredentials(t *testing.T) {
	r := newRegistry(t)
	content := module("secret")
	r.push("r.example/a:v", wasmArtifact(content))
	r.intercept(func(w http.ResponseWriter, req *http.Request) bool {
		if user, password, _ := req.BasicAuth(); user == "u" && password == "p:w" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="r"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	images := open(t, Config{Transport: r})
	wantError(t, images, "r.example/a:v", "IfNotPresent", "401")
	wrong, right := pullSecret("r.example", "u", "wrong"), pullSecret("https://r.example/v2/", "u", "p:w")
	if _, err := images.Ensure(t.Context(), "r.example/a:v", "IfNotPresent", [][]byte{wrong}); err == nil || strings.Contains(err.Error(), "wrong") {
		t.Errorf("with a wrong password: %v", err)
	}
	if _, err := images.Ensure(t.Context(), "r.example/a:v", "IfNotPresent", [][]byte{[]byte("{"), wrong, right}); err != nil {
		t.Error(err)
	}
}

func TestToken(t *testing.T) {
	r := newRegistry(t)
	r.push("r.example/a:v", wasmArtifact(module("x")))
	r.intercept(func(w http.ResponseWriter, req *http.Request) bool {
		user, password, _ := req.BasicAuth()
		switch {
		case req.URL.Host == "auth.example" && user == "u" && password == "p":
			_, _ = w.Write([]byte(`{"token":"t"}`)) // to a recorder
			return true
		case req.URL.Host != "auth.example" && req.Header.Get("Authorization") == "Bearer t":
			return false
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="https://auth.example/token",service="s"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	images := open(t, Config{Transport: r})
	if _, err := images.Ensure(t.Context(), "r.example/a:v", "Always", [][]byte{pullSecret("r.example/a", "u", "p")}); err != nil {
		t.Error(err)
	}
}

func TestMatching(t *testing.T) {
	for _, c := range []struct {
		location, repository string
		want                 bool
	}{
		{"r.example", "r.example/a", true},
		{"https://r.example/v1/", "r.example/a/b", true},
		{"r.example/a", "r.example/a/b", true},
		{"r.example/b", "r.example/a", false},
		{"*.example", "r.example/a", true},
		{"*.example", "s.r.example/a", false},
		{"r.example:5000", "r.example/a", false},
		{"r.example:5000", "r.example:5000/a", true},
		{"https://index.docker.io/v1/", "docker.io/library/a", true},
		{"docker.io", "docker.io/library/a", true},
		{"index.docker.io", "r.example/a", false},
		{"other.example", "r.example/a", false},
		{"[", "r.example/a", false},
	} {
		keys := newKeyring([][]byte{pullSecret(c.location, "u", "p")})
		found := keys.find(c.repository)
		auth, err := found[0].Authorization()
		if err != nil || len(found) != 1 || (auth.Username == "u") != c.want {
			t.Errorf("%s for %s: %+v, %v", c.location, c.repository, auth, err)
		}
	}
}

// platforms makes an index of images.
func platforms(all map[string]v1.Image) v1.ImageIndex {
	index := v1.ImageIndex(empty.Index)
	for platform, img := range all {
		os, arch, _ := strings.Cut(platform, "/")
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: os, Architecture: arch}},
		})
	}
	return index
}

func TestIndex(t *testing.T) {
	r := newRegistry(t)
	content := module("multi")
	linux := rootfs("linux", "amd64", v1.Config{}, tarOf("x", "y"))
	index := platforms(map[string]v1.Image{
		"linux/amd64": linux, "wasip2/wasm": wasmArtifact([]byte("\x00asm\x0d\x00\x01\x00")), "wasip1/wasm": wasmArtifact(content),
	})
	r.push("r.example/a:v", index)
	r.push("r.example/b:v", platforms(map[string]v1.Image{"plan9/mips": linux}))
	images := open(t, Config{Transport: r})
	img := wantModule(t, images, "r.example/a:v", "IfNotPresent", content)
	if img.Digest != digestOf(t, index) {
		t.Errorf("digest %s, want the index's", img.Digest)
	}
	wantModule(t, images, "r.example/a@"+img.Digest, "Never", content)
	if err := wantError(t, images, "r.example/b:v", "Always", "no variant for WebAssembly", "wasip1"); !errors.Is(err, errUnusable) {
		t.Error(err)
	}
}

func TestUnusable(t *testing.T) {
	r := newRegistry(t)
	r.push("r.example/container:v", rootfs("linux", "amd64", v1.Config{}, tarOf("x", "y")))
	r.push("r.example/component:v", wasmArtifact([]byte("\x00asm\x0d\x00\x01\x00 and more")))
	r.push("r.example/text:v", wasmArtifact([]byte("#!/bin/sh\necho hello")))
	r.push("r.example/short:v", wasmArtifact([]byte("\x00as")))
	r.push("r.example/large:v", wasmArtifact(module(strings.Repeat("x", 4096))))
	images := open(t, Config{Transport: r, MaxImageBytes: 1024})
	for ref, parts := range map[string][]string{
		"container": {"container image for linux/amd64", "WebAssembly modules only"},
		"component": {"is a WebAssembly component", "wasip1"},
		"text":      {"is a file of kind text"},
		"short":     {"is a file of kind unknown"},
		"large":     {"4104 bytes", "1024"},
	} {
		wantError(t, images, "r.example/"+ref+":v", "IfNotPresent", parts...)
	}
	if left, _ := os.ReadDir(images.modules()); len(left) != 0 {
		t.Errorf("%d modules were kept", len(left))
	}
}

func TestDamage(t *testing.T) {
	content := module(strings.Repeat("x", 100_000))
	digest := artifact.Digest(content)
	for name, serve := range map[string]func(http.ResponseWriter){
		"truncated":  func(w http.ResponseWriter) { _, _ = w.Write(content[:50_000]) },
		"other":      func(w http.ResponseWriter) { _, _ = w.Write(module(strings.Repeat("y", 100_000))) },
		"longer":     func(w http.ResponseWriter) { _, _ = w.Write(append(content[:len(content):len(content)], 'x')) },
		"no answer":  func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) },
		"other type": func(w http.ResponseWriter) { _, _ = w.Write([]byte("<html>")) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRegistry(t)
			r.push("r.example/a:v", wasmArtifact(content))
			r.intercept(func(w http.ResponseWriter, req *http.Request) bool {
				if !strings.HasSuffix(req.URL.Path, "/blobs/"+digest) {
					return false
				}
				serve(w)
				return true
			})
			images := open(t, Config{Transport: r})
			wantError(t, images, "r.example/a:v", "IfNotPresent", digest)
			r.intercept(nil)
			wantModule(t, images, "r.example/a:v", "IfNotPresent", content)
		})
	}
	t.Run("manifest", func(t *testing.T) {
		r := newRegistry(t)
		img := wasmArtifact(content)
		r.push("r.example/a:v", img)
		r.intercept(func(w http.ResponseWriter, req *http.Request) bool {
			if strings.Contains(req.URL.Path, "/manifests/") {
				w.Header().Set("Content-Type", artifact.ManifestType)
				_, _ = w.Write([]byte(`{"schemaVersion":2}`)) // to a recorder
			}
			return strings.Contains(req.URL.Path, "/manifests/")
		})
		wantError(t, open(t, Config{Transport: r}), "r.example/a@"+digestOf(t, img), "IfNotPresent", "digest")
	})
}

func TestRootfs(t *testing.T) {
	app := module("app")
	for name, c := range map[string]struct {
		entrypoint string
		layers     [][]byte
		err        string
	}{
		"file":           {"/app.wasm", [][]byte{tarOf("./app.wasm", string(app))}, ""},
		"relative":       {"app.wasm", [][]byte{tarOf("work/app.wasm", string(app))}, ""},
		"upper wins":     {"/app.wasm", [][]byte{tarOf("app.wasm", "old"), tarOf("app.wasm", string(app))}, ""},
		"lower":          {"/app.wasm", [][]byte{tarOf("app.wasm", string(app)), tarOf("b", "c")}, ""},
		"link":           {"/app", [][]byte{tarOf("bin/app.wasm", string(app)), tarOf("app -> bin/app.wasm")}, ""},
		"absolute link":  {"/x/app", [][]byte{tarOf("bin/app.wasm", string(app)), tarOf("x/app -> /bin/app.wasm")}, ""},
		"linked folder":  {"/bin/app", [][]byte{tarOf("bin -> usr/bin"), tarOf("usr/bin/app", string(app))}, ""},
		"hard link":      {"/app", [][]byte{tarOf("real", string(app), "app == real")}, ""},
		"escaping link":  {"/x/app", [][]byte{tarOf("x/app -> ../../../app.wasm", "app.wasm", string(app))}, ""},
		"whiteout":       {"/app", [][]byte{tarOf("app", string(app)), tarOf(".wh.app", "")}, "not in the image"},
		"opaque":         {"/x/app", [][]byte{tarOf("x/app", string(app)), tarOf("x/.wh..wh..opq", "")}, "not in the image"},
		"removed folder": {"/x/app", [][]byte{tarOf("x/app", string(app)), tarOf(".wh.x", "")}, "not in the image"},
		"absent":         {"/app", [][]byte{tarOf("b", "c")}, "not in the image"},
		"loop":           {"/app", [][]byte{tarOf("app -> b", "b -> app")}, "too many links"},
		"no module":      {"/app", [][]byte{tarOf("app", "\x7fELF\x02\x01\x01\x00")}, "binary"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRegistry(t)
			r.push("r.example/a:v", rootfs("wasip1", "wasm", v1.Config{
				Entrypoint: []string{c.entrypoint, "-v"}, Env: []string{"A=b"}, WorkingDir: "/work", User: "1",
			}, c.layers...))
			images := open(t, Config{Transport: r})
			if c.err != "" {
				wantError(t, images, "r.example/a:v", "Always", c.err)
				return
			}
			img := wantModule(t, images, "r.example/a:v", "Always", app)
			if img.Dir != "/work" || img.User != "1" || len(img.Env) != 1 || len(img.Entrypoint) != 2 {
				t.Errorf("%+v", img)
			}
			if left, _ := os.ReadDir(images.tmp()); len(left) != 0 {
				t.Errorf("left %d temporary files", len(left))
			}
		})
	}
}

func TestPulledOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		content := module("once")
		r.push("r.example/a:v", wasmArtifact(content))
		r.intercept(func(w http.ResponseWriter, req *http.Request) bool {
			time.Sleep(time.Second) // of virtual time: the network's
			return false
		})
		images := open(t, Config{Transport: r})
		gone, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if _, err := images.Ensure(t.Context(), "r.example/a:v", "Always", nil); err != nil {
					t.Error(err)
				}
			})
		}
		all.Go(func() {
			if _, err := images.Ensure(gone, "r.example/a:v", "Always", nil); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
		all.Wait()
		if n := r.count("GET r.example/v2/a/blobs/" + artifact.Digest(content)); n > 2 { // one may have been abandoned
			t.Errorf("the module was pulled %d times", n)
		}
	})
}

// stalling sends nothing until the context ends: no answer, or, if it is a blob, no body.
type stalling struct {
	*testRegistry
	path string
}

func (s stalling) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.Contains(r.URL.Path, s.path) {
		return s.testRegistry.RoundTrip(r)
	}
	if !strings.Contains(s.path, "/blobs/") {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	answer, err := s.testRegistry.RoundTrip(r)
	answer.Body = io.NopCloser(stalledBody{r.Context()})
	return answer, err
}

type stalledBody struct{ context.Context }

func (s stalledBody) Read([]byte) (int, error) {
	<-s.Done()
	return 0, s.Err()
}

func TestStalled(t *testing.T) {
	for _, path := range []string{"/manifests/v", "/manifests/sha256:", "/blobs/"} {
		synctest.Test(t, func(t *testing.T) {
			r := newRegistry(t)
			r.push("r.example/a:v", platforms(map[string]v1.Image{"wasip1/wasm": wasmArtifact(module("x"))}))
			images := open(t, Config{Transport: stalling{r, path}})
			begun := time.Now()
			wantError(t, images, "r.example/a:v", "Always", errStalled.Error())
			if took := time.Since(begun); took != patience {
				t.Errorf("%s: gave up after %s", path, took)
			}
		})
	}
}

func TestCollect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		for _, tag := range []string{"1", "2", "3"} {
			r.push("r.example/a:"+tag, wasmArtifact(module(strings.Repeat(tag, 992))))
		}
		r.push("r.example/same:1", mutate.Annotations(wasmArtifact(module(strings.Repeat("1", 992))), map[string]string{"a": "b"}).(v1.Image))
		c := Config{Dir: t.TempDir(), Transport: r, MaxBytes: 2000, MaxUnused: 24 * time.Hour, MinUnused: time.Minute}
		images := open(t, c)
		pull := func(ref string) string {
			t.Helper()
			img, err := images.Ensure(t.Context(), ref, "IfNotPresent", nil)
			if err != nil {
				t.Fatal(err)
			}
			return img.Digest
		}
		present := func(want ...bool) {
			t.Helper()
			for n, tag := range []string{"1", "2", "3"} {
				r, err := parse("r.example/a:" + tag)
				if err != nil {
					t.Fatal(err)
				}
				if _, ok := images.index.Images[images.index.References[r.key]]; ok != want[n] {
					t.Errorf("image %s: present %t", tag, ok)
				}
			}
		}
		one := pull("r.example/a:1")
		images.InUse("pod", []string{one})
		two := pull("r.example/a:2")
		pull("r.example/a:3")
		present(true, true, true) // too large, but all of them were just used
		time.Sleep(time.Hour)
		images.InUse("other", []string{two})
		present(true, true, false)
		time.Sleep(30 * time.Hour)
		images.InUse("other", nil)
		present(true, true, false) // it was in use until now
		time.Sleep(25 * time.Hour)
		images.InUse("other", nil)
		present(true, false, false)

		pull("r.example/same:1")
		images.InUse("pod", nil)
		images = open(t, c)
		time.Sleep(time.Second)
		images.InUse("x", nil)
		present(true, false, false)
		time.Sleep(25 * time.Hour)
		pull("r.example/same:1")
		images.InUse("x", nil)
		present(false, false, false)
		if left, _ := filepath.Glob(filepath.Join(images.modules(), "*")); len(left) != 1 { // the other image has the same
			t.Errorf("%d modules are left", len(left))
		}
	})
}

func TestStart(t *testing.T) {
	r := newRegistry(t)
	content := module("x")
	r.push("r.example/a:v", wasmArtifact(content))
	dir := t.TempDir()
	images := open(t, Config{Dir: dir, Transport: r})
	img := wantModule(t, images, "r.example/a:v", "IfNotPresent", content)
	write := func(file, content string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dir, "tmp", "unfinished"), "x")
	write(filepath.Join(dir, "modules", "stray.wasm"), "x")
	images = open(t, Config{Dir: dir, Transport: r})
	for _, sub := range []string{"tmp/*", "modules/stray*"} {
		if left, _ := filepath.Glob(filepath.Join(dir, sub)); len(left) != 0 {
			t.Errorf("left %v", left)
		}
	}
	wantModule(t, images, "r.example/a:v", "Never", content)
	write(img.Path, "cut")
	images = open(t, Config{Dir: dir, Transport: r})
	wantModule(t, images, "r.example/a:v", "IfNotPresent", content)
	write(filepath.Join(dir, "index.json"), "{")
	images = open(t, Config{Dir: dir, Transport: r})
	if images.Present(t.Context(), "r.example/a:v") {
		t.Error("present by a broken index")
	}
	wantModule(t, images, "r.example/a:v", "IfNotPresent", content)
}

func FuzzReference(f *testing.F) {
	for _, seed := range []string{"a", "a:b", "r.example/a@sha256:" + strings.Repeat("0", 64), "localhost:5000/x:y", "/", ":"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		r, err := parse(ref)
		if err != nil {
			if !errors.Is(err, runtime.ErrInvalidImageName) {
				t.Fatal(err)
			}
			return
		}
		if len(r.sources) == 0 || r.key == "" || r.digest != "" && !validDigest(r.digest) {
			t.Fatalf("%+v", r)
		}
	})
}

func FuzzLayer(f *testing.F) {
	f.Add(tarOf("a", "b"), "a")
	f.Add(tarOf("a -> b", "b", "c", ".wh.d", ""), "a")
	f.Fuzz(func(t *testing.T, layer []byte, name string) {
		unpacked, done, err := decompress(strings.NewReader(string(layer)))
		if err != nil {
			return
		}
		defer done()
		found, err := find(tar.NewReader(io.LimitReader(unpacked, 1<<20)), clean(name), 1<<20, &strings.Builder{})
		if err == nil && strings.HasPrefix(found.link, "/") {
			t.Fatalf("link %q", found.link)
		}
	})
}
