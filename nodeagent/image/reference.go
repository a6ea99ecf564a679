package image

import (
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"wherry/nodeagent/runtime"
)

// cluster is the host of the cluster's own registry, in requests that go there. It has no dot and no port, so that no
// reference can mean it.
const cluster = "cluster"

// reference is what a pod calls an image.
type reference struct {
	// sources are where to look for it, in order.
	sources []name.Reference
	// key is the reference written out, as in the index.
	key string
	// digest is "" if the reference has only a tag.
	digest string
}

// parse reads a reference. Errors: runtime.ErrInvalidImageName.
func parse(ref string) (reference, error) {
	parsed, err := name.ParseReference(ref, name.WithDefaultRegistry(cluster))
	if err != nil {
		return reference{}, fmt.Errorf("%w: %w", runtime.ErrInvalidImageName, err)
	}
	for element := range strings.SplitSeq(parsed.Context().Name(), "/") {
		if strings.Trim(element, ".") == "" {
			return reference{}, fmt.Errorf("%w: %s: its part %q is no name", runtime.ErrInvalidImageName, ref, element)
		}
	}
	r := reference{key: parsed.Name(), sources: []name.Reference{parsed}}
	if d, ok := parsed.(name.Digest); ok {
		r.digest = d.DigestStr()
		if !validDigest(r.digest) {
			return reference{}, fmt.Errorf("%w: %s: only sha256 digests are supported", runtime.ErrInvalidImageName, ref)
		}
	}
	if !isCluster(parsed) {
		return r, nil
	}
	hub, err := name.ParseReference(ref)
	if err != nil {
		return reference{}, fmt.Errorf("%w: %w", runtime.ErrInvalidImageName, err)
	}
	r.sources = append(r.sources, hub)
	return r, nil
}

func isCluster(r name.Reference) bool { return r.Context().RegistryStr() == cluster }

// repository is where credentials are for: the reference without tag and digest, docker.io by that name.
func repository(r name.Reference) string {
	repo := r.Context()
	host := repo.RegistryStr()
	if host == name.DefaultRegistry {
		host = "docker.io"
	}
	return host + "/" + repo.RepositoryStr()
}

// validDigest says that a digest can be trusted to be a file's name.
func validDigest(d string) bool {
	hex, ok := strings.CutPrefix(d, "sha256:")
	return ok && len(hex) == 64 && strings.Trim(hex, "0123456789abcdef") == ""
}
