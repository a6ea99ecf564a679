package oracle

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Resource is a kind that a server serves.
type Resource struct {
	GroupVersion string   `json:"-"` // as in "apps/v1"
	Name         string   `json:"name"`
	Kind         string   `json:"kind"`
	Namespaced   bool     `json:"namespaced"`
	Verbs        []string `json:"verbs"`
	Subresources []string `json:"-"`
}

// Collection is the path of all objects of the kind in a namespace.
func (r Resource) Collection(namespace string) string {
	base := "/apis/" + r.GroupVersion
	if !strings.Contains(r.GroupVersion, "/") {
		base = "/api/" + r.GroupVersion
	}
	if r.Namespaced {
		base += "/namespaces/" + namespace
	}
	return base + "/" + r.Name
}

func (r Resource) gvk() GroupVersionKind {
	group, version, ok := strings.Cut(r.GroupVersion, "/")
	if !ok {
		group, version = "", r.GroupVersion
	}
	return GroupVersionKind{group, version, r.Kind}
}

// resources is what a server serves of a group and version; nil: nothing.
func (s *Server) resources(ctx context.Context, groupVersion string) ([]Resource, error) {
	at := Resource{GroupVersion: groupVersion}
	a, err := s.Do(ctx, Request{Method: http.MethodGet, Path: strings.TrimSuffix(at.Collection(""), "/")})
	if err != nil || a.Status == http.StatusNotFound {
		return nil, err
	}
	var list struct{ Resources []Resource }
	if err := json.Unmarshal(a.Body, &list); err != nil {
		return nil, fmt.Errorf("discovery of %s by %s: %w", groupVersion, s.Name, err)
	}
	var all []Resource
	for _, r := range list.Resources {
		if name, sub, ok := strings.Cut(r.Name, "/"); ok {
			if i := slices.IndexFunc(all, func(o Resource) bool { return o.Name == name }); i >= 0 {
				all[i].Subresources = append(all[i].Subresources, sub)
			}
			continue
		}
		r.GroupVersion = groupVersion
		all = append(all, r)
	}
	return all, nil
}

// Seed is a small valid object of a kind that both servers serve.
type Seed struct {
	Resource
	object string // JSON with $NS
}

// seeds reads the small objects of file of which both servers serve the kind. It also says which
// kinds ours does not serve.
func (p *Pair) seeds(ctx context.Context, file string) (served []Seed, missing []string, err error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	csr, err := certificateRequest()
	if err != nil {
		return nil, nil, err
	}
	data = bytes.ReplaceAll(data, []byte("$CSR"), []byte(csr))
	known := map[string][2][]Resource{}
	for document := range strings.SplitSeq(string(data), "\n---\n") {
		var meta struct{ APIVersion, Kind string }
		if err := yaml.Unmarshal([]byte(document), &meta); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", file, err)
		}
		if meta.Kind == "" {
			continue
		}
		text, err := yaml.YAMLToJSON([]byte(document))
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", file, err)
		}
		both, ok := known[meta.APIVersion]
		if !ok {
			for i, s := range []*Server{p.Theirs, p.Ours} {
				if both[i], err = s.resources(ctx, meta.APIVersion); err != nil {
					return nil, nil, err
				}
			}
			known[meta.APIVersion] = both
		}
		ofKind := func(r Resource) bool { return r.Kind == meta.Kind }
		i := slices.IndexFunc(both[0], ofKind)
		if i < 0 {
			return nil, nil, fmt.Errorf("%s: kube-apiserver does not serve %s %s", file, meta.APIVersion, meta.Kind)
		}
		if !slices.ContainsFunc(both[1], ofKind) {
			missing = append(missing, meta.APIVersion+" "+meta.Kind)
			continue
		}
		served = append(served, Seed{Resource: both[0][i], object: string(text)})
	}
	return served, missing, nil
}

// Object is the seed's object under a name.
func (s Seed) Object(namespace, name string) (map[string]any, error) {
	var v map[string]any
	if err := json.Unmarshal([]byte(strings.ReplaceAll(s.object, "$NS", namespace)), &v); err != nil {
		return nil, err
	}
	meta, _ := v["metadata"].(map[string]any)
	if meta == nil {
		meta = map[string]any{}
		v["metadata"] = meta
	}
	if meta["name"] == nil {
		meta["name"] = name
	}
	return v, nil
}

// certificateRequest is one in base64 of PEM.
func certificateRequest() (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "someone"}}, key)
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), nil
}
