package artifact

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

const module = "\x00asm\x01\x00\x00\x00"

func TestDetect(t *testing.T) {
	for in, want := range map[string]Kind{
		"":                                 Empty,
		module:                             Module,
		module + "more":                    Module,
		"\x00asm\x0d\x00\x01\x00":          Component,
		"\x00asm":                          Unknown,
		"\x00asm\x02\x00\x00\x00":          Unknown,
		"(module)":                         Text,
		"#!/bin/sh":                        Text,
		"größe äöü":                        Text,
		"1234567ä":                         Text,
		"\xff\xfe":                         Unknown,
		"\x7fELF\x02\x01\x01\x00":          Binary,
		"MZ\x90\x00\x03\x00\x00\x00":       Binary,
		"\xcf\xfa\xed\xfe\x07\x00\x00\x01": Binary,
		"\x1f\x8b\x08\x00\x00\x00\x00\x00": Unknown,
	} {
		if got := Detect([]byte(in)); got != want {
			t.Errorf("%q is %s, want %s", in, got, want)
		}
	}
}

func TestPack(t *testing.T) {
	created := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	config, manifest, err := Pack([]byte(module), Options{Created: created, Author: "me"})
	if err != nil {
		t.Fatal(err)
	}
	wantConfig := `{"created":"2026-01-02T03:04:05Z","author":"me","architecture":"wasm","os":"wasip1",` +
		`"layerDigests":["sha256:93a44bbb96c751218e4c00d479e4c14358122a389acca16205b1e4d0dc5f9476"]}`
	if string(config) != wantConfig {
		t.Errorf("config\n%s\nwant\n%s", config, wantConfig)
	}
	for _, want := range []string{`"schemaVersion":2`, ManifestType, ConfigType, Digest(config), `"mediaType":"application/wasm"`, `"size":8`} {
		if !strings.Contains(string(manifest), want) {
			t.Errorf("no %s in the manifest %s", want, manifest)
		}
	}
	where, err := Locate(manifest, config, nil)
	if err != nil || where.Layer == nil || where.Layer.Digest != Digest([]byte(module)) {
		t.Errorf("what was packed is found at %+v, %v", where, err)
	}
	if _, _, err := Pack([]byte("\x00asm\x0d\x00\x01\x00"), Options{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a component: %v", err)
	}
}

func TestLocate(t *testing.T) {
	const image = "application/vnd.oci.image.config.v1+json"
	tar := Descriptor{MediaType: "application/vnd.oci.image.layer.v1.tar+gzip", Digest: "sha256:1"}
	wasm := Descriptor{MediaType: "application/vnd.wasm.content.layer.v1+wasm", Digest: "sha256:2"}
	odd := Descriptor{MediaType: "application/octet-stream", Digest: "sha256:3"}
	entry := func(argv ...string) Process { return Process{Entrypoint: argv} }
	tests := map[string]struct {
		configType  string
		layers      []Descriptor
		config      Config
		annotations map[string]string
		layer, file string // where it is
		err         error
	}{
		"artifact":              {ConfigType, []Descriptor{odd}, Config{}, nil, "sha256:3", "", nil},
		"artifact v1":           {"application/vnd.wasm.config.v1+json", []Descriptor{odd}, Config{}, nil, "sha256:3", "", nil},
		"artifact of two":       {ConfigType, []Descriptor{wasm, odd}, Config{}, nil, "", "", ErrInvalid},
		"layer":                 {image, []Descriptor{tar, wasm}, Config{}, nil, "sha256:2", "", nil},
		"layer before platform": {image, []Descriptor{tar, wasm}, Config{OS: "wasi", Process: entry("/a")}, nil, "sha256:2", "", nil},
		"wasi":                  {image, []Descriptor{tar}, Config{OS: "wasi", Architecture: "amd64", Process: entry("/app.wasm")}, nil, "", "app.wasm", nil},
		"wasm":                  {image, []Descriptor{tar}, Config{OS: "linux", Architecture: "wasm", Process: entry("app.wasm", "-x")}, nil, "", "app.wasm", nil},
		"directory":             {image, []Descriptor{tar}, Config{OS: "wasip1", Process: Process{Cmd: []string{"./a"}, WorkingDir: "/w"}}, nil, "", "w/a", nil},
		"outside":               {image, []Descriptor{tar}, Config{OS: "wasip1", Process: entry("../../etc/passwd")}, nil, "", "etc/passwd", nil},
		"no entrypoint":         {image, []Descriptor{tar}, Config{OS: "wasi"}, nil, "", "", ErrInvalid},
		"compat":                {image, []Descriptor{tar}, Config{OS: "linux"}, map[string]string{variantAnnotation: "compat"}, "", "plugin.wasm", nil},
		"compat-smart":          {image, []Descriptor{tar}, Config{OS: "linux", Process: entry("/x.wasm")}, map[string]string{variantAnnotation: "compat-smart"}, "", "x.wasm", nil},
		"handler":               {image, []Descriptor{tar}, Config{OS: "linux"}, map[string]string{handlerAnnotation: "wasm"}, "", "plugin.wasm", nil},
		"another handler":       {image, []Descriptor{tar}, Config{OS: "linux"}, map[string]string{handlerAnnotation: "krun"}, "", "", ErrNoModule},
		"container":             {image, []Descriptor{tar}, Config{OS: "linux", Architecture: "amd64", Process: entry("/bin/sh")}, nil, "", "", ErrNoModule},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			config := encode(t, test.config)
			m := Manifest{SchemaVersion: 2, Config: Descriptor{MediaType: test.configType}, Layers: test.layers}
			where, err := Locate(encode(t, m), config, test.annotations)
			layer := ""
			if where.Layer != nil {
				layer = where.Layer.Digest
			}
			if layer != test.layer || where.File != test.file || !errors.Is(err, test.err) || (err != nil) != (test.err != nil) {
				t.Errorf("it is at %q %q, %v", layer, where.File, err)
			}
			if test.annotations == nil {
				return
			}
			m.Annotations = test.annotations
			if again, err2 := Locate(encode(t, m), config, nil); !reflect.DeepEqual(again, where) || (err2 == nil) != (err == nil) {
				t.Errorf("annotated itself it is at %+v, %v", again, err2)
			}
		})
	}
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func FuzzLocate(f *testing.F) {
	f.Add([]byte(`{"config":{"mediaType":"application/vnd.wasm.config.v0+json"},"layers":[{}]}`), []byte(`{}`))
	f.Add([]byte(`{"layers":[]}`), []byte(`{"os":"wasi","config":{"Entrypoint":["/../x"]}}`))
	f.Fuzz(func(t *testing.T, manifest, config []byte) {
		where, err := Locate(manifest, config, nil)
		if err != nil {
			return
		}
		if (where.Layer == nil) == (where.File == "") {
			t.Errorf("it is at %+v", where)
		}
		if strings.HasPrefix(where.File, "/") || strings.Contains("/"+where.File+"/", "/../") {
			t.Errorf("the file %q leaves the root", where.File)
		}
	})
}
