package ociregistry

import (
	"net/http"
	"regexp"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Grammar of the distribution specification ("Pulling manifests").
var (
	nameGrammar = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagGrammar  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

// MaxName is the longest name of a repository, in bytes.
const MaxName = 255

func validName(name string) bool { return len(name) <= MaxName && nameGrammar.MatchString(name) }

// parseDigest takes sha256 only, the one algorithm that every client has.
func parseDigest(s string) (string, error) {
	h, err := v1.NewHash(s)
	if err != nil || h.Algorithm != "sha256" {
		return "", badDigest(s)
	}
	return h.String(), nil
}

// target is what a path below /v2/ names.
type target struct {
	kind      string // "base", "catalog", "blob", "uploads", "upload", "manifest", "tags", "referrers"
	name      string // repository
	reference string // digest, tag or id of an upload, as it was given
}

// parsePath reads a path from its end, since names of repositories may contain any word.
func parsePath(path string) (target, bool) {
	path, ok := strings.CutPrefix(path, "/v2")
	switch {
	case !ok:
		return target{}, false
	case path == "" || path == "/":
		return target{kind: "base"}, true
	case path == "/_catalog":
		return target{kind: "catalog"}, true
	case path[0] != '/':
		return target{}, false
	}
	parts := strings.Split(path[1:], "/")
	n := len(parts)
	name := func(rest int) string { return strings.Join(parts[:n-rest], "/") }
	switch {
	case n > 2 && parts[n-2] == "tags" && parts[n-1] == "list":
		return target{"tags", name(2), ""}, true
	case n > 3 && parts[n-3] == "blobs" && parts[n-2] == "uploads" && parts[n-1] == "":
		return target{"uploads", name(3), ""}, true
	case n > 3 && parts[n-3] == "blobs" && parts[n-2] == "uploads":
		return target{"upload", name(3), parts[n-1]}, true
	case n > 2 && parts[n-2] == "blobs" && parts[n-1] == "uploads":
		return target{"uploads", name(2), ""}, true
	case n > 2 && parts[n-2] == "blobs":
		return target{"blob", name(2), parts[n-1]}, true
	case n > 2 && parts[n-2] == "manifests":
		return target{"manifest", name(2), parts[n-1]}, true
	case n > 2 && parts[n-2] == "referrers":
		return target{"referrers", name(2), parts[n-1]}, true
	}
	return target{}, false
}

type handler func(w http.ResponseWriter, r *http.Request, t target) error

// methods by kind of target; HEAD is GET.
func (g *Registry) methods(kind string) map[string]handler {
	switch kind {
	case "base":
		return map[string]handler{"GET": g.base}
	case "catalog":
		return map[string]handler{"GET": g.catalog}
	case "blob":
		return map[string]handler{"GET": g.getBlob, "DELETE": g.deleteBlob}
	case "uploads":
		return map[string]handler{"POST": g.startUpload}
	case "upload":
		return map[string]handler{"GET": g.uploadStatus, "PATCH": g.patchUpload, "PUT": g.finishUpload, "DELETE": g.cancelUpload}
	case "manifest":
		return map[string]handler{"GET": g.getManifest, "PUT": g.putManifest, "DELETE": g.deleteManifest}
	case "tags":
		return map[string]handler{"GET": g.listTags}
	default:
		return map[string]handler{"GET": g.listReferrers}
	}
}

// ServeHTTP serves the paths at and below /v2/.
func (g *Registry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	if err := g.serve(w, r); err != nil {
		g.answerError(w, r, err)
	}
}

func (g *Registry) serve(w http.ResponseWriter, r *http.Request) error {
	t, ok := parsePath(r.URL.Path)
	if !ok {
		return refuse(http.StatusNotFound, "NAME_UNKNOWN", "no such path: %s", r.URL.Path)
	}
	if t.kind != "base" && t.kind != "catalog" && !validName(t.name) {
		return badName(t.name)
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	handle, ok := g.methods(t.kind)[method]
	if !ok {
		return refuse(http.StatusMethodNotAllowed, "UNSUPPORTED", "%s is not possible here", r.Method)
	}
	return handle(w, r, t)
}

func (g *Registry) base(w http.ResponseWriter, _ *http.Request, _ target) error {
	answerJSON(w, http.StatusOK, "application/json", struct{}{})
	return nil
}
