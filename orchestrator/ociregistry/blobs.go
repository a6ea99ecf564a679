package ociregistry

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

func (g *Registry) getBlob(w http.ResponseWriter, r *http.Request, t target) error {
	digest, err := parseDigest(t.reference)
	if err != nil {
		return err
	}
	if _, ok, err := g.index.holds(t.name, digest); err != nil {
		return err
	} else if !ok {
		return unknownBlob(digest)
	}
	f, err := os.Open(g.blobPath(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return unknownBlob(digest)
	}
	if err != nil {
		return err
	}
	defer f.Close() // only read
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Docker-Content-Digest", digest)
	w.Header().Set("ETag", `"`+digest+`"`)
	http.ServeContent(w, r, "", time.Time{}, f)
	return nil
}

func (g *Registry) deleteBlob(w http.ResponseWriter, _ *http.Request, t target) error {
	digest, err := parseDigest(t.reference)
	if err != nil {
		return err
	}
	g.blobs.Lock()
	defer g.blobs.Unlock()
	others, err := g.index.release(t.name, digest)
	if err != nil {
		return err
	}
	if !others {
		if err := os.Remove(g.blobPath(digest)); err != nil {
			// It is gone for clients. Windows keeps it while somebody reads; the next
			// start removes it.
			g.log.Warn("registry: a deleted blob stays until the next start", "digest", digest, "error", err)
		}
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// keep makes the durable file at path the blob of the repository. The file is gone
// afterwards, if all went well.
func (g *Registry) keep(path, name, digest string, size int64) error {
	g.blobs.Lock()
	defer g.blobs.Unlock()
	to := g.blobPath(digest)
	dir := filepath.Dir(to)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if _, err := os.Stat(to); err == nil {
		// The same content is there, and may be open.
		if err := os.Remove(path); err != nil {
			return err
		}
	} else if err := os.Rename(path, to); err != nil {
		return err
	}
	if err := errors.Join(syncDir(dir), syncDir(filepath.Dir(dir))); err != nil {
		return fmt.Errorf("make %s durable: %w", to, err)
	}
	return g.index.hold(name, digest, size)
}

// mount gives the repository a blob of another one.
func (g *Registry) mount(name, from, digest string) (bool, error) {
	g.blobs.Lock()
	defer g.blobs.Unlock()
	size, ok, err := g.index.holds(from, digest)
	if err != nil || !ok {
		return false, err
	}
	return true, g.index.hold(name, digest, size)
}
