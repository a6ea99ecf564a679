// Command gen cuts the OpenAPI documents that Kubernetes publishes down to what Wherry serves and
// writes them, compressed, to the folder that is its argument:
//
//	v3/<group version>.json.gz   OpenAPI 3 of one group version, "/" written as "__"
//	v2.json.gz, v2.pb.gz         OpenAPI 2 of everything
//	types.json.gz                the structure of the kinds, for managed fields
//
// The kinds come from the registry; actions and resources that are not stored are listed in served.go. To be
// run again whenever one of them or Kubernetes changes (make generate).
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	"google.golang.org/protobuf/proto"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: gen FOLDER")
	}
	if err := run(os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func run(out string) error {
	module, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}} {{.Version}}", "k8s.io/kubernetes").Output()
	if err != nil {
		return fmt.Errorf("find Kubernetes: %w", err)
	}
	dir, version, _ := strings.Cut(strings.TrimSpace(string(module)), " ")
	spec := filepath.Join(dir, "api", "openapi-spec")
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	listed, err := readEnums(dir)
	if err != nil {
		return err
	}
	served := newServed()
	schemas := map[string]any{}
	for _, name := range served.documents() {
		file := strings.ReplaceAll(name, "/", "__")
		doc, err := read(filepath.Join(spec, "v3", file+"_openapi.json"))
		if err != nil {
			return err
		}
		prune(doc, served, version, "components/schemas")
		listed.add(find(doc, "components/schemas"))
		for name, s := range doc["components"].(map[string]any)["schemas"].(map[string]any) {
			schemas[name] = s
		}
		if err := write(filepath.Join(out, "v3", file+".json.gz"), doc); err != nil {
			return err
		}
	}
	if err := writeTypes(filepath.Join(out, "types.json.gz"), schemas); err != nil {
		return err
	}
	return writeV2(spec, out, served, listed, version)
}

func writeV2(spec, out string, served *served, listed enums, version string) error {
	doc, err := read(filepath.Join(spec, "swagger.json"))
	if err != nil {
		return err
	}
	prune(doc, served, version, "definitions", "parameters")
	listed.add(find(doc, "definitions"))
	if err := write(filepath.Join(out, "v2.json.gz"), doc); err != nil {
		return err
	}
	b, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	parsed, err := openapi_v2.ParseDocument(b)
	if err != nil {
		return fmt.Errorf("parse OpenAPI 2: %w", err)
	}
	b, err = proto.MarshalOptions{Deterministic: true}.Marshal(parsed)
	if err != nil {
		return err
	}
	return writeBytes(filepath.Join(out, "v2.pb.gz"), b)
}

func read(path string) (map[string]any, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var doc map[string]any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&doc); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return doc, nil
}

func write(path string, doc any) error {
	b, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	return writeBytes(path, b)
}

func writeBytes(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := z.Write(b); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return os.WriteFile(path, packed.Bytes(), 0o644)
}
