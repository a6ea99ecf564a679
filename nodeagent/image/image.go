package image

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"wherry/nodeagent/runtime"
)

// Pull policies, as Kubernetes names them.
const (
	pullAlways       = "Always"
	pullIfNotPresent = "IfNotPresent"
	pullNever        = "Never"
)

// Config configures New.
type Config struct {
	// Dir keeps the images; it is made if it is not there.
	Dir string
	// ClusterRegistry carries requests to the cluster's own registry, whatever their host; nil: there is none.
	ClusterRegistry http.RoundTripper
	// Transport carries requests to all other registries; nil: the machine's network.
	Transport http.RoundTripper
	Logger    *slog.Logger // nil: slog.Default()

	// MaxImageBytes bounds what is downloaded, and what is unpacked, for one image; 0: 1 GiB.
	MaxImageBytes int64
	// Images that no pod uses are removed when they have not been used for MaxUnused (0: a week), or while
	// all together have more than MaxBytes (0: 1 GiB), those that were used longest ago first; but
	// none that was used in the last MinUnused (0: two minutes).
	MaxUnused, MinUnused time.Duration
	MaxBytes             int64
}

func (c *Config) fill() {
	setDefault(&c.Logger, slog.Default())
	setDefault(&c.MaxImageBytes, 1<<30)
	setDefault(&c.MaxUnused, 7*24*time.Hour)
	setDefault(&c.MinUnused, 2*time.Minute)
	setDefault(&c.MaxBytes, 1<<30)
}

func setDefault[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

// Images are those of this machine. Its methods may be called concurrently.
type Images struct {
	config Config
	log    *slog.Logger

	mu      sync.Mutex
	index   index
	used    map[string][]string      // pod uid -> digests
	pulling map[string]chan struct{} // digest -> closed when the pull has ended
	started time.Time
}

// New opens the images in the folder. Nothing has to be closed.
func New(c Config) (*Images, error) {
	c.fill()
	images := &Images{
		config:  c,
		log:     c.Logger,
		used:    map[string][]string{},
		pulling: map[string]chan struct{}{},
		started: time.Now(),
	}
	if err := os.RemoveAll(images.tmp()); err != nil {
		return nil, fmt.Errorf("remove unfinished pulls: %w", err)
	}
	for _, dir := range []string{images.tmp(), images.modules()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make the folder of images: %w", err)
		}
	}
	if err := images.load(); err != nil {
		return nil, err
	}
	return images, nil
}

func (i *Images) tmp() string       { return filepath.Join(i.config.Dir, "tmp") }
func (i *Images) modules() string   { return filepath.Join(i.config.Dir, "modules") }
func (i *Images) indexFile() string { return filepath.Join(i.config.Dir, "index.json") }

// Present reports whether Ensure with the policy IfNotPresent would need no registry.
func (i *Images) Present(_ context.Context, ref string) bool {
	r, err := parse(ref)
	if err != nil {
		return false
	}
	_, ok := i.cached(r)
	return ok
}

// Ensure returns the image, pulled as policy says (Always, IfNotPresent, Never). pullSecrets are contents of
// .dockerconfigjson. Pulls of one digest at the same time are one. It does not try again: that is the caller's. Errors:
// runtime.ErrInvalidImageName, runtime.ErrImageNeverPull, anything else is a failed pull.
func (i *Images) Ensure(ctx context.Context, ref, policy string, pullSecrets [][]byte) (runtime.Image, error) {
	r, err := parse(ref)
	if err != nil {
		return runtime.Image{}, err
	}
	switch policy {
	case pullNever, pullIfNotPresent:
		if rec, ok := i.cached(r); ok {
			return i.image(ref, rec), nil
		}
		if policy == pullNever {
			return runtime.Image{}, fmt.Errorf("%w: %s", runtime.ErrImageNeverPull, ref)
		}
	case pullAlways:
	default:
		return runtime.Image{}, fmt.Errorf("unknown pull policy %q", policy)
	}
	rec, err := i.pull(ctx, r, newKeyring(pullSecrets))
	if err != nil {
		return runtime.Image{}, err
	}
	return i.image(ref, rec), nil
}

// InUse says which images the pod uses from now on, by digest; nil: none.
func (i *Images) InUse(podUID string, digests []string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, digest := range i.used[podUID] {
		i.touch(digest)
	}
	delete(i.used, podUID)
	if len(digests) > 0 {
		i.used[podUID] = digests
	}
	i.collect()
}

// image is what the record says, in the words of the runtime.
func (i *Images) image(ref string, rec record) runtime.Image {
	return runtime.Image{
		Ref:           ref,
		Digest:        rec.Digest,
		Kind:          "wasm",
		Path:          i.modulePath(rec.Module),
		ContentDigest: rec.Module,
		Entrypoint:    rec.Process.Entrypoint,
		Cmd:           rec.Process.Cmd,
		Env:           rec.Process.Env,
		Dir:           rec.Process.WorkingDir,
		User:          rec.Process.User,
	}
}

// alone calls f when nobody else works on the digest. The error is f's, or says that ctx has ended.
func (i *Images) alone(ctx context.Context, digest string, f func() error) error {
	for {
		i.mu.Lock()
		other, busy := i.pulling[digest]
		if !busy {
			i.pulling[digest] = make(chan struct{})
		}
		i.mu.Unlock()
		if !busy {
			break
		}
		select {
		case <-other:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	defer func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		close(i.pulling[digest])
		delete(i.pulling, digest)
	}()
	return f()
}

var errUnusable = errors.New("this node cannot run the image")
