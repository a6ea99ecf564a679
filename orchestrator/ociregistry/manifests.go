package ociregistry

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// parsedManifest is what the registry looks at in an image manifest or an image index,
// OCI's or Docker's (image-spec, "manifest.md" and "image-index.md").
type parsedManifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     types.MediaType   `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        *v1.Descriptor    `json:"config"`
	Layers        []v1.Descriptor   `json:"layers"`
	Manifests     []v1.Descriptor   `json:"manifests"`
	Subject       *v1.Descriptor    `json:"subject"`
	Annotations   map[string]string `json:"annotations"`
}

// parseManifest reads a manifest that was sent as the media type.
func parseManifest(content []byte, mediaType string) (*parsedManifest, error) {
	var p parsedManifest
	if err := json.Unmarshal(content, &p); err != nil {
		return nil, badManifest("not a manifest: %v", err)
	}
	switch {
	case p.SchemaVersion != 2:
		return nil, badManifest("schemaVersion is %d; only 2 is known", p.SchemaVersion)
	case p.MediaType != "" && string(p.MediaType) != mediaType:
		return nil, badManifest("the manifest says that it is %q, the request that it is %q", p.MediaType, mediaType)
	case p.Config == nil && p.Manifests == nil:
		return nil, badManifest("neither an image manifest nor an index")
	}
	named := append(p.blobs(), p.Manifests...)
	if p.Subject != nil {
		named = append(named, *p.Subject)
	}
	for _, d := range named {
		if d.Digest.Algorithm != "sha256" {
			return nil, badManifest("%q is not a digest of the form sha256:<64 hexadecimal digits>", d.Digest)
		}
	}
	return &p, nil
}

// blobs are the blobs that the repository must have. Layers that name URLs are fetched
// from there.
func (p *parsedManifest) blobs() []v1.Descriptor {
	var list []v1.Descriptor
	if p.Config != nil {
		list = append(list, *p.Config)
	}
	for _, d := range p.Layers {
		if len(d.URLs) == 0 {
			list = append(list, d)
		}
	}
	return list
}

// descriptor describes the manifest to those who ask for referrers of its subject.
func (p *parsedManifest) descriptor(m storedManifest) v1.Descriptor {
	artifact := p.ArtifactType
	if artifact == "" && p.Config != nil {
		artifact = string(p.Config.MediaType)
	}
	return v1.Descriptor{
		MediaType:    types.MediaType(m.mediaType),
		Size:         int64(len(m.content)),
		Digest:       v1.Hash{Algorithm: "sha256", Hex: m.digest[len("sha256:"):]},
		Annotations:  p.Annotations,
		ArtifactType: artifact,
	}
}

// parseReference returns either a tag or a digest.
func parseReference(reference string) (tag, digest string, err error) {
	if tagGrammar.MatchString(reference) {
		return reference, "", nil
	}
	if digest, err = parseDigest(reference); err != nil {
		return "", "", badManifest("%q is neither a tag nor a digest", reference)
	}
	return "", digest, nil
}

func (g *Registry) getManifest(w http.ResponseWriter, r *http.Request, t target) error {
	if _, _, err := parseReference(t.reference); err != nil {
		return err
	}
	m, err := g.index.manifest(t.name, t.reference)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", m.mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(m.content)))
	w.Header().Set("Docker-Content-Digest", m.digest)
	w.Header().Set("ETag", `"`+m.digest+`"`)
	if r.Method != http.MethodHead {
		_, _ = w.Write(m.content) // a client that is gone is not our affair
	}
	return nil
}

func (g *Registry) putManifest(w http.ResponseWriter, r *http.Request, t target) error {
	tag, digest, err := parseReference(t.reference)
	if err != nil {
		return err
	}
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return badManifest("Content-Type: %v", err)
	}
	content, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxManifest))
	if err != nil {
		return fmt.Errorf("read the manifest: %w", err)
	}
	sum := sha256.Sum256(content)
	m := storedManifest{digest: "sha256:" + hex.EncodeToString(sum[:]), mediaType: mediaType, content: content}
	if digest != "" && digest != m.digest {
		return wrongDigest(digest, m.digest)
	}
	p, err := parseManifest(content, mediaType)
	if err != nil {
		return err
	}
	if err := g.index.putManifest(t.name, tag, m, p); err != nil {
		return err
	}
	if p.Subject != nil {
		w.Header().Set("OCI-Subject", p.Subject.Digest.String())
	}
	created(w, fmt.Sprintf("/v2/%s/manifests/%s", t.name, m.digest), m.digest)
	return nil
}

func created(w http.ResponseWriter, location, digest string) {
	w.Header().Set("Location", location)
	w.Header().Set("Docker-Content-Digest", digest)
	w.WriteHeader(http.StatusCreated)
}

func (g *Registry) deleteManifest(w http.ResponseWriter, _ *http.Request, t target) error {
	tag, digest, err := parseReference(t.reference)
	switch {
	case err != nil:
		return err
	case tag != "":
		err = g.index.deleteTag(t.name, tag)
	default:
		err = g.index.deleteManifest(t.name, digest)
	}
	if err == nil {
		w.WriteHeader(http.StatusAccepted)
	}
	return err
}

func (g *Registry) listTags(w http.ResponseWriter, r *http.Request, t target) error {
	last, n, err := paging(r)
	if err != nil {
		return err
	}
	tags, more, err := g.index.tags(t.name, last, n)
	if err != nil {
		return err
	}
	linkNext(w, r, tags, more, n)
	answerJSON(w, http.StatusOK, "application/json", struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{t.name, tags})
	return nil
}

func (g *Registry) catalog(w http.ResponseWriter, r *http.Request, _ target) error {
	last, n, err := paging(r)
	if err != nil {
		return err
	}
	repositories, more, err := g.index.repositories(last, n)
	if err != nil {
		return err
	}
	linkNext(w, r, repositories, more, n)
	answerJSON(w, http.StatusOK, "application/json", map[string][]string{"repositories": repositories})
	return nil
}

// paging reads the parameters last and n; n is -1 if it is not given.
func paging(r *http.Request) (last string, n int, err error) {
	q := r.URL.Query()
	if !q.Has("n") {
		return q.Get("last"), -1, nil
	}
	n, err = strconv.Atoi(q.Get("n"))
	if err != nil || n < 0 {
		return "", 0, refuse(http.StatusBadRequest, "PAGINATION_NUMBER_INVALID", "n is %q, not a number of entries", q.Get("n"))
	}
	return q.Get("last"), n, nil
}

func linkNext(w http.ResponseWriter, r *http.Request, list []string, more bool, n int) {
	if !more || len(list) == 0 {
		return
	}
	q := url.Values{"n": {strconv.Itoa(n)}, "last": {list[len(list)-1]}}
	w.Header().Set("Link", fmt.Sprintf(`<%s?%s>; rel="next"`, r.URL.Path, q.Encode()))
}

func (g *Registry) listReferrers(w http.ResponseWriter, r *http.Request, t target) error {
	digest, err := parseDigest(t.reference)
	if err != nil {
		return err
	}
	all, err := g.index.referrers(t.name, digest)
	if err != nil {
		return err
	}
	list := all
	if wanted := r.URL.Query().Get("artifactType"); wanted != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
		list = []v1.Descriptor{}
		for _, d := range all {
			if d.ArtifactType == wanted {
				list = append(list, d)
			}
		}
	}
	answerJSON(w, http.StatusOK, string(types.OCIImageIndex), v1.IndexManifest{
		SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: list,
	})
	return nil
}
