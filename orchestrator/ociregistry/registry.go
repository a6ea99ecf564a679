package ociregistry

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/bbolt"
)

// Options configure New. The zero value is good.
type Options struct {
	// MaxBlob bounds one blob, in bytes. 0 means 10 GiB.
	MaxBlob int64
	// MaxUploads bounds how many uploads may be open at once. 0 means 128.
	MaxUploads int
	// UploadTimeout is how long an upload may be left alone. 0 means an hour.
	UploadTimeout time.Duration
	// Logger may be nil, for slog.Default().
	Logger *slog.Logger
}

// MaxManifest bounds a manifest, in bytes: what the specification says that registries
// should take at least.
const MaxManifest = 4 << 20

// Registry is an http.Handler for the paths at and below /v2/.
type Registry struct {
	o     Options
	log   *slog.Logger
	dir   string
	index *index

	// blobs is held while a blob and its holders change together.
	blobs sync.Mutex

	mu      sync.Mutex
	uploads map[string]*upload
}

// New opens the registry in the folder, or makes it. The folder is the registry's alone.
func New(dir string, o Options) (*Registry, error) {
	if o.MaxBlob <= 0 {
		o.MaxBlob = 10 << 30
	}
	if o.MaxUploads <= 0 {
		o.MaxUploads = 128
	}
	if o.UploadTimeout <= 0 {
		o.UploadTimeout = time.Hour
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	g := &Registry{o: o, log: o.Logger, dir: dir, uploads: map[string]*upload{}}
	if err := g.open(); err != nil {
		return nil, fmt.Errorf("open registry %s: %w", dir, err)
	}
	return g, nil
}

func (g *Registry) open() (err error) {
	for _, dir := range []string{g.blobDir(), g.uploadDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if g.index, err = openIndex(filepath.Join(g.dir, "registry.db")); err != nil {
		return err
	}
	if err := errors.Join(g.removeUploads(), g.removeOrphans()); err != nil {
		return errors.Join(err, g.index.Close())
	}
	return nil
}

// Close ends uploads and lets go of the folder. No request may be running.
func (g *Registry) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	var errs []error
	for id, u := range g.uploads {
		errs = append(errs, u.remove())
		delete(g.uploads, id)
	}
	return errors.Join(append(errs, g.index.Close())...)
}

func (g *Registry) blobDir() string   { return filepath.Join(g.dir, "blobs", "sha256") }
func (g *Registry) uploadDir() string { return filepath.Join(g.dir, "uploads") }

// blobPath is where the blob with the valid digest is kept.
func (g *Registry) blobPath(digest string) string {
	hex := digest[len("sha256:"):]
	return filepath.Join(g.blobDir(), hex[:2], hex)
}

// removeUploads removes what an earlier process was receiving.
func (g *Registry) removeUploads() error {
	entries, err := os.ReadDir(g.uploadDir())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.Remove(filepath.Join(g.uploadDir(), e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// removeOrphans removes blobs that were renamed into place but never entered, or whose
// last holder is gone.
func (g *Registry) removeOrphans() error {
	held, err := g.index.held()
	if err != nil {
		return err
	}
	return filepath.WalkDir(g.blobDir(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || held["sha256:"+d.Name()] {
			return err
		}
		return os.Remove(path)
	})
}

// Snapshot copies the index, as it is now, into a new file. The blobs that it names are in the
// registry's folder.
func (g *Registry) Snapshot(path string) error {
	err := g.index.View(func(tx *bbolt.Tx) error { return tx.CopyFile(path, 0o600) })
	if err != nil {
		return fmt.Errorf("snapshot of registry: %w", err)
	}
	return nil
}
