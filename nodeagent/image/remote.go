package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"wherry/wasm/artifact"
)

// maxDocument bounds manifests, configurations and everything else from a registry that is no layer, in bytes.
const maxDocument = 4 << 20

// patience is how long a registry may take to answer, or to send the next bytes of a layer.
const patience = time.Minute

var errStalled = fmt.Errorf("the registry sent nothing for %s", patience)

// remoteImage is an image in a registry that let us in.
type remoteImage struct {
	puller *remote.Puller
	top    *remote.Descriptor // what the reference resolved to
	repo   name.Repository
}

// open finds the first source that has the image. An error other than "not found" ends the search.
func (i *Images) open(ctx context.Context, r reference, keys keyring) (*remoteImage, error) {
	var failed []error
	for _, source := range r.sources {
		if isCluster(source) && i.config.ClusterRegistry == nil {
			continue
		}
		found, err := i.openWith(ctx, source, keys)
		if err == nil {
			return found, nil
		}
		failed = append(failed, fmt.Errorf("pull %s: %w", source.Name(), err))
		if !isStatus(err, http.StatusNotFound) {
			break
		}
	}
	return nil, errors.Join(failed...)
}

// openWith tries all credentials that may fit. The cluster's registry knows this node without any.
func (i *Images) openWith(ctx context.Context, source name.Reference, keys keyring) (*remoteImage, error) {
	through, auths := i.config.Transport, keys.find(repository(source))
	if through == nil {
		through = remote.DefaultTransport
	}
	if isCluster(source) {
		through, auths = plain{i.config.ClusterRegistry}, []authn.Authenticator{authn.Anonymous}
	}
	var last error
	for _, auth := range auths {
		ctx, cancel := context.WithTimeoutCause(ctx, patience, errStalled)
		defer cancel()
		puller, err := remote.NewPuller(
			remote.WithTransport(bounded{through}),
			remote.WithAuth(auth),
			remote.WithUserAgent("wherry-agent"),
			remote.WithRetryBackoff(remote.Backoff{Steps: 1}),
		)
		if err != nil {
			return nil, fmt.Errorf("prepare requests: %w", err)
		}
		top, err := puller.Get(ctx, source)
		if err == nil {
			return &remoteImage{puller, top, source.Context()}, nil
		}
		last = because(ctx, err)
		if !isStatus(err, http.StatusUnauthorized, http.StatusForbidden) {
			break
		}
	}
	return nil, last
}

func isStatus(err error, codes ...int) bool {
	var refused *transport.Error
	if !errors.As(err, &refused) {
		return false
	}
	for _, code := range codes {
		if refused.StatusCode == code {
			return true
		}
	}
	return false
}

// manifest returns the bytes of another manifest of the repository.
func (m *remoteImage) manifest(ctx context.Context, digest string) ([]byte, error) {
	if !validDigest(digest) {
		return nil, fmt.Errorf("manifest %.80q: only sha256 digests are supported", digest)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errStalled)
	defer cancel()
	d, err := m.puller.Get(ctx, m.repo.Digest(digest))
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", digest, because(ctx, err))
	}
	return d.Manifest, nil
}

// blob copies a blob, of which it verifies size and digest. When it fails, part of the blob may have been written.
func (m *remoteImage) blob(ctx context.Context, d artifact.Descriptor, to io.Writer) error {
	if !validDigest(d.Digest) || d.Size < 0 {
		return fmt.Errorf("blob %.80q of %d bytes: only sha256 digests are supported", d.Digest, d.Size)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil) // ends what is not read to its end
	stalled := time.AfterFunc(patience, func() { cancel(errStalled) })
	defer stalled.Stop()
	layer, err := m.puller.Layer(ctx, m.repo.Digest(d.Digest))
	if err != nil {
		return fmt.Errorf("blob %s: %w", d.Digest, err)
	}
	// Of a layer of this origin, these are the bytes as they are in the registry, verified at their end.
	body, err := layer.Compressed()
	if err != nil {
		return fmt.Errorf("blob %s: %w", d.Digest, because(ctx, err))
	}
	n, err := io.Copy(to, io.LimitReader(progress{body, stalled}, d.Size+1))
	if err == nil && n != d.Size {
		err = fmt.Errorf("it has not the %d bytes that its image says", d.Size)
	}
	if err = errors.Join(err, body.Close()); err != nil {
		return fmt.Errorf("blob %s: %w", d.Digest, because(ctx, err))
	}
	return nil
}

// because is why the context has ended, if that is why there is an error.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// progress puts a timer off with everything that is read.
type progress struct {
	io.Reader
	stalled *time.Timer
}

func (p progress) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	if n > 0 {
		p.stalled.Reset(patience)
	}
	return n, err
}

// plain makes requests plain HTTP: what carries them is safe already.
type plain struct{ http.RoundTripper }

func (p plain) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Scheme = "http"
	return p.RoundTripper.RoundTrip(r)
}

// bounded cuts off answers that should be short: all but blobs, which the registry may redirect elsewhere.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := b.RoundTripper.RoundTrip(r)
	redirected := r.Response != nil
	if err != nil || redirected || strings.Contains(r.URL.Path, "/blobs/") {
		return answer, err
	}
	answer.Body = cutBody{io.LimitReader(answer.Body, maxDocument), answer.Body}
	return answer, nil
}

type cutBody struct {
	io.Reader
	io.Closer
}
