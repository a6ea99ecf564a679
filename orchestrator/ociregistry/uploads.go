package ociregistry

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// upload is a blob that is being received. One request has it at a time; whoever has it
// owns everything but busy and used, which Registry.mu guards.
type upload struct {
	id   string
	name string // repository
	file *os.File
	sum  hash.Hash // of what is in file
	size int64     // of what is in file

	busy bool
	used time.Time
}

// Write appends to the blob. After an error it holds what was written until then.
func (u *upload) Write(b []byte) (int, error) {
	n, err := u.file.WriteAt(b, u.size)
	u.sum.Write(b[:n])
	u.size += int64(n)
	return n, err
}

func (u *upload) remove() error {
	return errors.Join(u.file.Close(), os.Remove(u.file.Name()))
}

func (u *upload) location() string { return fmt.Sprintf("/v2/%s/blobs/uploads/%s", u.name, u.id) }

func (g *Registry) startUpload(w http.ResponseWriter, r *http.Request, t target) error {
	q := r.URL.Query()
	if q.Has("mount") {
		if done, err := g.mountBlob(w, t.name, q.Get("from"), q.Get("mount")); done || err != nil {
			return err
		}
	}
	var digest string
	if q.Has("digest") {
		var err error
		if digest, err = parseDigest(q.Get("digest")); err != nil {
			return err
		}
	}
	u, err := g.newUpload(t.name)
	if err != nil {
		return err
	}
	if digest != "" {
		return g.finish(w, r, u, digest)
	}
	g.giveBack(u)
	answerProgress(w, u, http.StatusAccepted)
	return nil
}

// mountBlob answers if the other repository has the blob; otherwise the client uploads.
func (g *Registry) mountBlob(w http.ResponseWriter, name, from, mount string) (bool, error) {
	digest, err := parseDigest(mount)
	if err != nil {
		return false, err
	}
	if from != "" && !validName(from) {
		return false, badName(from)
	}
	ok, err := g.mount(name, from, digest)
	if ok && err == nil {
		created(w, fmt.Sprintf("/v2/%s/blobs/%s", name, digest), digest)
	}
	return ok, err
}

// newUpload returns an upload that the caller has.
func (g *Registry) newUpload(name string) (*upload, error) {
	id := rand.Text()
	file, err := os.OpenFile(filepath.Join(g.uploadDir(), id), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("begin an upload: %w", err)
	}
	u := &upload{id: id, name: name, file: file, sum: sha256.New(), busy: true}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forgetIdle()
	if len(g.uploads) >= g.o.MaxUploads {
		return nil, errors.Join(u.remove(), refuse(http.StatusTooManyRequests, "TOOMANYREQUESTS", "%d uploads are open, no more are possible at once", len(g.uploads)))
	}
	g.uploads[id] = u
	return u, nil
}

// forgetIdle removes uploads that were left alone. g.mu is held.
func (g *Registry) forgetIdle() {
	for id, u := range g.uploads {
		if u.busy || time.Since(u.used) < g.o.UploadTimeout {
			continue
		}
		if err := u.remove(); err != nil {
			g.log.Warn("registry: an abandoned upload stays until the next start", "error", err)
		}
		delete(g.uploads, id)
	}
}

// take returns the upload, which is the caller's until giveBack or discard.
func (g *Registry) take(t target) (*upload, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	u := g.uploads[t.reference]
	if u == nil || u.name != t.name {
		return nil, unknownUpload(t.reference)
	}
	if u.busy {
		return nil, refuse(http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID", "another request is writing to this upload")
	}
	u.busy = true
	return u, nil
}

func (g *Registry) giveBack(u *upload) {
	g.mu.Lock()
	defer g.mu.Unlock()
	u.busy, u.used = false, time.Now()
}

// discard ends an upload that the caller has.
func (g *Registry) discard(u *upload) error {
	g.mu.Lock()
	delete(g.uploads, u.id)
	g.mu.Unlock()
	return u.remove()
}

func answerProgress(w http.ResponseWriter, u *upload, status int) {
	w.Header().Set("Location", u.location())
	w.Header().Set("Docker-Upload-UUID", u.id)
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(u.size-1, 0)))
	w.WriteHeader(status)
}

func (g *Registry) uploadStatus(w http.ResponseWriter, _ *http.Request, t target) error {
	u, err := g.take(t)
	if err != nil {
		return err
	}
	defer g.giveBack(u)
	answerProgress(w, u, http.StatusNoContent)
	return nil
}

func (g *Registry) patchUpload(w http.ResponseWriter, r *http.Request, t target) error {
	u, err := g.take(t)
	if err != nil {
		return err
	}
	defer g.giveBack(u)
	if err := u.follows(r); err != nil {
		w.Header().Set("Location", u.location())
		w.Header().Set("Range", fmt.Sprintf("0-%d", max(u.size-1, 0)))
		return err
	}
	if err := g.receive(w, r, u); err != nil {
		return err
	}
	answerProgress(w, u, http.StatusAccepted)
	return nil
}

// follows checks that a chunk with a Content-Range begins where the upload is.
func (u *upload) follows(r *http.Request) error {
	given := r.Header.Get("Content-Range")
	if given == "" {
		return nil
	}
	bad := refuse(http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID", "Content-Range is %q, but the next byte is %d", given, u.size)
	first, last, ok := strings.Cut(strings.TrimPrefix(given, "bytes "), "-")
	if !ok {
		return bad
	}
	from, err := strconv.ParseInt(first, 10, 64)
	if err != nil || from != u.size {
		return bad
	}
	last, _, _ = strings.Cut(last, "/")
	to, err := strconv.ParseInt(last, 10, 64)
	if err != nil || r.ContentLength >= 0 && to-from+1 != r.ContentLength {
		return bad
	}
	return nil
}

// receive appends the body to the upload.
func (g *Registry) receive(w http.ResponseWriter, r *http.Request, u *upload) error {
	body := http.MaxBytesReader(w, r.Body, g.o.MaxBlob-u.size)
	if _, err := io.Copy(u, body); err != nil {
		return fmt.Errorf("receive a blob: %w", err)
	}
	return nil
}

func (g *Registry) finishUpload(w http.ResponseWriter, r *http.Request, t target) error {
	digest, err := parseDigest(r.URL.Query().Get("digest"))
	if err != nil {
		return err
	}
	u, err := g.take(t)
	if err != nil {
		return err
	}
	if err := u.follows(r); err != nil {
		g.giveBack(u)
		return err
	}
	return g.finish(w, r, u, digest)
}

// finish takes the rest of the blob from the body and keeps it if it is what it should
// be. The upload ends either way.
func (g *Registry) finish(w http.ResponseWriter, r *http.Request, u *upload, digest string) error {
	err := g.receive(w, r, u)
	if got := "sha256:" + hex.EncodeToString(u.sum.Sum(nil)); err == nil && got != digest {
		err = wrongDigest(digest, got)
	}
	if err == nil {
		err = u.file.Sync()
	}
	if err != nil {
		return errors.Join(err, g.discard(u))
	}
	if err := errors.Join(u.file.Close(), g.keep(u.file.Name(), u.name, digest, u.size)); err != nil {
		return errors.Join(err, g.abandon(u))
	}
	g.mu.Lock()
	delete(g.uploads, u.id)
	g.mu.Unlock()
	created(w, fmt.Sprintf("/v2/%s/blobs/%s", u.name, digest), digest)
	return nil
}

// abandon ends an upload whose file is closed and may have been renamed.
func (g *Registry) abandon(u *upload) error {
	g.mu.Lock()
	delete(g.uploads, u.id)
	g.mu.Unlock()
	return os.RemoveAll(u.file.Name())
}

func (g *Registry) cancelUpload(w http.ResponseWriter, _ *http.Request, t target) error {
	u, err := g.take(t)
	if err != nil {
		return err
	}
	if err := g.discard(u); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
