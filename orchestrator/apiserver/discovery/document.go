package discovery

import (
	"bytes"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/munnerz/goautoneg"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"sigs.k8s.io/yaml"
)

// document is one answer, encoded.
type document struct {
	obj         runtime.Object // until it is encoded
	json, proto []byte
	etag        string // quoted
}

func newDocument(obj runtime.Object) *document { return &document{obj: obj} }

func (d *document) encode() error {
	b, err := json.Marshal(d.obj)
	if err != nil {
		return fmt.Errorf("encode as JSON: %w", err)
	}
	var p bytes.Buffer
	if err := protobuf.NewSerializer(nil, nil).Encode(d.obj, &p); err != nil {
		return fmt.Errorf("encode as protobuf: %w", err)
	}
	d.json, d.proto, d.obj = append(b, '\n'), p.Bytes(), nil
	d.etag = strconv.Quote(fmt.Sprintf("%X", sha512.Sum512(b)))
	return nil
}

const (
	jsonType  = "application/json"
	yamlType  = "application/yaml"
	protoType = "application/vnd.kubernetes.protobuf"

	aggregatedParameters = ";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
)

// choice is in which form the client wants the document.
type choice struct {
	mediaType  string
	aggregated bool
}

// negotiate reads an Accept header; false means that nothing in it is served. Only where aggregated is true
// there is one document for all groups.
func negotiate(accept string, aggregated bool) (choice, bool) {
	if accept == "" {
		return choice{mediaType: jsonType}, true
	}
	for _, clause := range goautoneg.ParseAccept(accept) {
		mediaType := match(clause)
		as := clause.Params["as"]
		switch {
		case mediaType == "":
		case as == "":
			return choice{mediaType: mediaType}, true
		case aggregated && as == "APIGroupDiscoveryList" && clause.Params["g"] == "apidiscovery.k8s.io" && clause.Params["v"] == "v2":
			return choice{mediaType: mediaType, aggregated: true}, true
		}
	}
	return choice{}, false
}

func match(a goautoneg.Accept) string {
	switch a.Type + "/" + a.SubType {
	case jsonType, "application/*", "*/*":
		return jsonType
	case yamlType:
		return yamlType
	case protoType:
		return protoType
	default:
		return ""
	}
}

// write sends the document; ok false means that it cannot be sent in a form that the
// client takes.
func (d *document) write(w http.ResponseWriter, c choice, ok bool) {
	if !ok {
		http.Error(w, fmt.Sprintf("only the following media types are accepted: %s, %s, %s", jsonType, yamlType, protoType), http.StatusNotAcceptable)
		return
	}
	body := d.json
	switch c.mediaType {
	case protoType:
		body = d.proto
	case yamlType:
		var err error
		if body, err = yaml.JSONToYAML(d.json); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	contentType := c.mediaType
	if c.aggregated {
		contentType += aggregatedParameters
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body) // the client is gone: nobody to tell
}
