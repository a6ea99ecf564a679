package openapi

import (
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	"google.golang.org/protobuf/proto"

	"wherry/orchestrator/resource"
)

// defined is what there is to tell of custom kinds, of one generation of kinds. Documents are made when somebody
// asks for them and are not kept: clients keep them, under their hashes.
type defined struct {
	generation uint64
	byDocument map[string][]*resource.Kind // as in apis/example.org/v1
	hashes     map[string]string
	index      []byte // of all documents of OpenAPI 3
	indexETag  string // quoted
	etagV2     string // quoted; "" without custom kinds
}

// defined are the custom kinds as they are now.
func (d *Documents) defined() (*defined, error) {
	if now := d.now.Load(); now != nil && now.generation == d.kinds.Generation() {
		return now, nil
	}
	all, generation := d.kinds.Now()
	now := &defined{generation: generation, byDocument: map[string][]*resource.Kind{}, hashes: map[string]string{}}
	whole := sha512.New()
	for _, k := range all {
		if k.Custom != nil {
			now.byDocument[documentOf(k)] = append(now.byDocument[documentOf(k)], k)
			fmt.Fprintln(whole, k.GroupVersionKind, k.Custom.Hash)
		}
	}
	if len(now.byDocument) > 0 {
		now.etagV2 = strconv.Quote(fmt.Sprintf("%X", whole.Sum([]byte(d.v2.hash))))
	}
	for name, kinds := range now.byDocument {
		h := sha512.New()
		for _, k := range kinds {
			fmt.Fprintln(h, k.GroupVersionKind, k.Custom.Hash)
		}
		now.hashes[name] = fmt.Sprintf("%X", h.Sum(nil))
	}
	if err := d.makeIndex(now); err != nil {
		return nil, err
	}
	d.now.Store(now)
	return now, nil
}

// serveDefined answers with the OpenAPI 3 document of custom kinds.
func (d *Documents) serveDefined(w http.ResponseWriter, r *http.Request, name string, now *defined) {
	if !cacheable(w, r, name, now.hashes[name]) {
		return
	}
	body, err := describeV3(now.byDocument[name])
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	made(w, r, jsonType, strconv.Quote(now.hashes[name]), body)
}

// made sends a document that was just made.
func made(w http.ResponseWriter, r *http.Request, mediaType, etag string, body []byte) {
	h := w.Header()
	h.Set("ETag", etag)
	h.Set("Vary", "Accept, Accept-Encoding")
	h.Set("Content-Type", mediaType)
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if !takesGzip(r) {
		_, _ = w.Write(body) // the client is gone: nobody to tell
		return
	}
	h.Set("Content-Encoding", "gzip")
	z := gzip.NewWriter(w)
	_, _ = z.Write(body)
	_ = z.Close()
}

// serveDefinedV2 answers with the OpenAPI 2 document, custom kinds among the others.
func (d *Documents) serveDefinedV2(w http.ResponseWriter, r *http.Request, now *defined, protobuf bool) {
	if r.Header.Get("If-None-Match") == now.etagV2 {
		w.Header().Set("ETag", now.etagV2)
		w.WriteHeader(http.StatusNotModified)
		return
	}
	var kinds []*resource.Kind
	for _, name := range sorted(now.byDocument) {
		kinds = append(kinds, now.byDocument[name]...)
	}
	body, mediaType, err := []byte(nil), jsonType, error(nil)
	if protobuf {
		mediaType = protobufV2
		body, err = d.protoV2(kinds)
	} else {
		body, err = d.jsonV2(kinds)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	made(w, r, mediaType, now.etagV2, body)
}

// jsonV2 puts the definitions and paths of custom kinds at the beginning of those of the document.
func (d *Documents) jsonV2(kinds []*resource.Kind) ([]byte, error) {
	definitions, paths, err := describeV2(kinds)
	if err != nil {
		return nil, err
	}
	doc, err := d.v2.content()
	if err != nil {
		return nil, err
	}
	for _, part := range []struct {
		mark  string
		value object
	}{{`"definitions":{`, definitions}, {`"paths":{`, paths}} {
		mark := part.mark
		if mark == `"paths":{` {
			mark = `"paths":{"/` // a schema may have a property of that name
		}
		i := bytes.Index(doc, []byte(mark))
		if i < 0 {
			return nil, fmt.Errorf("openapi: the generated document has no %s", part.mark)
		}
		inner, err := json.Marshal(part.value)
		if err != nil {
			return nil, fmt.Errorf("openapi: encode: %w", err)
		}
		i += len(part.mark)
		doc = slices.Concat(doc[:i], inner[1:len(inner)-1], []byte(","), doc[i:])
	}
	return doc, nil
}

// protoV2 appends the definitions and paths of custom kinds to the message: decoders merge a message field that
// comes twice.
func (d *Documents) protoV2(kinds []*resource.Kind) ([]byte, error) {
	definitions, paths, err := describeV2(kinds)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(object{
		"swagger": "2.0", "info": object{"title": "Kubernetes", "version": "unversioned"}, "paths": paths, "definitions": definitions,
	})
	if err != nil {
		return nil, fmt.Errorf("openapi: encode: %w", err)
	}
	// References into the generated document cannot be followed here; they are not looked at.
	extra, err := openapi_v2.ParseDocument(text)
	if err != nil {
		return nil, fmt.Errorf("openapi: custom kinds as protobuf: %w", err)
	}
	extra.Swagger, extra.Info = "", nil
	tail, err := proto.Marshal(extra)
	if err != nil {
		return nil, fmt.Errorf("openapi: encode: %w", err)
	}
	doc, err := d.v2pb.content()
	return append(doc, tail...), err
}

// content is the file, unpacked.
func (d *document) content() ([]byte, error) {
	f, err := generated.Open(d.file)
	if err != nil {
		return nil, fmt.Errorf("openapi: %w", err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("openapi: %s: %w", d.file, err)
	}
	return io.ReadAll(z)
}

func sorted[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
