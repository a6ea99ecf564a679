// Package openapi serves the description of the API: OpenAPI 3, one document per group version, and OpenAPI
// 2, one for all. kubectl checks manifests by it and explains fields from it.
//
// The documents are those that Kubernetes publishes, cut down to what is served, by the generator in gen.
// They lie compressed in the program and are sent as they lie; nothing of them is kept in
// memory. From the same source come the types that managed fields are computed with.
package openapi

import (
	"compress/gzip"
	"crypto/sha512"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/munnerz/goautoneg"

	"wherry/orchestrator/resource"
)

//go:generate go run ./gen generated

//go:embed generated
var generated embed.FS

const (
	jsonType = "application/json"
	// protobufV2 has had two names; the header of an answer can only carry the first.
	protobufV2      = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
	protobufV2Older = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
)

// Documents answers /openapi/v2, /openapi/v3 and what lies below it.
type Documents struct {
	kinds    *resource.Registry
	v3       map[string]*document // by group version, as in apis/apps/v1
	v2, v2pb *document
	now      atomic.Pointer[defined]
}

// document is a file in generated.
type document struct {
	file, mediaType string
	hash            string
}

// New prepares the documents. Errors: a kind of the registry that the generated files do not describe.
func New(kinds *resource.Registry) (*Documents, error) {
	d := &Documents{kinds: kinds, v3: map[string]*document{}}
	var err error
	if d.v2, err = open("generated/v2.json.gz", jsonType); err != nil {
		return nil, err
	}
	if d.v2pb, err = open("generated/v2.pb.gz", protobufV2); err != nil {
		return nil, err
	}
	files, err := fs.Glob(generated, "generated/v3/*.json.gz")
	if err != nil {
		return nil, fmt.Errorf("openapi: list documents: %w", err)
	}
	for _, file := range files {
		name := strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(file, "generated/v3/"), ".json.gz"), "__", "/")
		if d.v3[name], err = open(file, jsonType); err != nil {
			return nil, err
		}
	}
	for _, k := range kinds.All() {
		if k.Custom != nil {
			continue
		}
		if name := documentOf(k); d.v3[name] == nil {
			return nil, fmt.Errorf("openapi: no document %s for %s: run make generate", name, k.Kind)
		}
	}
	_, err = d.defined()
	return d, err
}

// documentOf names the OpenAPI 3 document that describes k.
func documentOf(k *resource.Kind) string {
	if k.Group == "" {
		return "api/" + k.Version
	}
	return "apis/" + k.Group + "/" + k.Version
}

func open(file, mediaType string) (*document, error) {
	f, err := generated.Open(file)
	if err != nil {
		return nil, fmt.Errorf("openapi: %w", err)
	}
	defer f.Close()
	h := sha512.New()
	if _, err := io.Copy(h, f); err != nil {
		return nil, fmt.Errorf("openapi: %w", err)
	}
	return &document{file: file, mediaType: mediaType, hash: fmt.Sprintf("%X", h.Sum(nil))}, nil
}

func (d *Documents) makeIndex(now *defined) error {
	type entry struct {
		ServerRelativeURL string `json:"serverRelativeURL"`
	}
	index := struct {
		Paths map[string]entry `json:"paths"`
	}{map[string]entry{}}
	for name, doc := range d.v3 {
		index.Paths[name] = entry{relativeURL(name, doc.hash)}
	}
	for name, hash := range now.hashes {
		index.Paths[name] = entry{relativeURL(name, hash)}
	}
	var err error
	if now.index, err = json.Marshal(index); err != nil {
		return fmt.Errorf("openapi: encode the index: %w", err)
	}
	now.indexETag = strconv.Quote(fmt.Sprintf("%X", sha512.Sum512(now.index)))
	return nil
}

// relativeURL changes when the document changes, so that clients may keep what they have
// under it for ever.
func relativeURL(name, hash string) string {
	return "/openapi/v3/" + name + "?hash=" + hash
}

func (d *Documents) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now, err := d.defined()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	path := strings.TrimSuffix(r.URL.Path, "/")
	switch name, below := strings.CutPrefix(path, "/openapi/v3/"); {
	case below && d.v3[name] != nil:
		if cacheable(w, r, name, d.v3[name].hash) {
			d.v3[name].serve(w, r)
		}
	case below && now.hashes[name] != "":
		d.serveDefined(w, r, name, now)
	case path == "/openapi/v3":
		now.serveIndex(w, r)
	case path == "/openapi/v2":
		d.serveV2(w, r, now)
	default:
		http.NotFound(w, r)
	}
}

func (d *defined) serveIndex(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("ETag", d.indexETag)
	w.Header().Set("Content-Type", jsonType)
	if r.Header.Get("If-None-Match") == d.indexETag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	_, _ = w.Write(d.index) // the client is gone: nobody to tell
}

// cacheable answers a request for a document that need not be sent, and otherwise says how long it may be kept.
func cacheable(w http.ResponseWriter, r *http.Request, name, now string) (send bool) {
	if choose(r.Header.Get("Accept"), jsonType) == "" {
		http.Error(w, "only "+jsonType+" is served", http.StatusNotAcceptable)
		return false
	}
	if hash := r.URL.Query().Get("hash"); hash != "" {
		if hash != now {
			http.Redirect(w, r, relativeURL(name, now), http.StatusMovedPermanently)
			return false
		}
		w.Header().Set("Cache-Control", "public, immutable")
		w.Header().Set("Expires", time.Now().AddDate(1, 0, 0).UTC().Format(http.TimeFormat))
	}
	return true
}

func (d *Documents) serveV2(w http.ResponseWriter, r *http.Request, now *defined) {
	switch form := choose(r.Header.Get("Accept"), jsonType, protobufV2, protobufV2Older); {
	case form != "" && now.etagV2 != "":
		d.serveDefinedV2(w, r, now, form != jsonType)
	case form == jsonType:
		d.v2.serve(w, r)
	case form == "":
		http.Error(w, "only "+jsonType+" and "+protobufV2+" are served", http.StatusNotAcceptable)
	default:
		d.v2pb.serve(w, r)
	}
}

// choose returns the first of the offered types that an Accept header takes, in the header's order.
func choose(accept string, offered ...string) string {
	if accept == "" {
		return offered[0]
	}
	for _, clause := range goautoneg.ParseAccept(accept) {
		wanted := clause.Type + "/" + clause.SubType
		for _, o := range offered {
			if wanted == o || wanted == "*/*" || wanted == "application/*" {
				return o
			}
		}
	}
	return ""
}

// serve sends the document as it lies in the program to clients that take gzip.
func (d *document) serve(w http.ResponseWriter, r *http.Request) {
	etag := strconv.Quote(d.hash)
	h := w.Header()
	h.Set("ETag", etag)
	h.Set("Vary", "Accept, Accept-Encoding")
	h.Set("Content-Type", d.mediaType)
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if err := d.send(w, takesGzip(r)); err != nil {
		// What was sent breaks off; the client sees that it is not whole.
		panic(http.ErrAbortHandler)
	}
}

func (d *document) send(w http.ResponseWriter, packed bool) error {
	f, err := generated.Open(d.file)
	if err != nil {
		return err
	}
	defer f.Close()
	if packed {
		w.Header().Set("Content-Encoding", "gzip")
		_, err = io.Copy(w, f)
		return err
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, z)
	return err
}

func takesGzip(r *http.Request) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, parameters, _ := strings.Cut(strings.TrimSpace(part), ";")
		if name == "gzip" && strings.ReplaceAll(parameters, " ", "") != "q=0" {
			return true
		}
	}
	return false
}
