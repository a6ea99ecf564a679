package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"wherry/wasm/artifact"
)

// maxIndex bounds the index's file, in bytes.
const maxIndex = 64 << 20

// index is what is here. Invariant: the module of every image is in its file, complete.
type index struct {
	Images map[string]record `json:"images"` // by digest
	// References are the digests that references had when they were last resolved; the image may be gone.
	References map[string]string `json:"references"`
}

// record is one image.
type record struct {
	Digest   string           `json:"digest"` // what the reference resolved to: of a manifest or an index
	Module   string           `json:"module"` // digest of the module's bytes
	Size     int64            `json:"size"`   // of the module, in bytes
	Process  artifact.Process `json:"process,omitzero"`
	LastUsed time.Time        `json:"lastUsed"`
}

// load reads the index, and makes files and index agree. A broken index is an empty one: what it named is pulled again.
func (i *Images) load() error {
	i.index = index{Images: map[string]record{}, References: map[string]string{}}
	var read index
	switch err := readIndex(i.indexFile(), &read); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		i.log.Warn("the index of images cannot be read, images will be pulled again", "err", err)
	}
	for digest, rec := range read.Images {
		if digest == rec.Digest && validDigest(digest) && validDigest(rec.Module) && i.isComplete(rec) {
			i.index.Images[digest] = rec
		}
	}
	for key, digest := range read.References {
		if _, ok := i.index.Images[digest]; ok {
			i.index.References[key] = digest
		}
	}
	return i.sweep()
}

func readIndex(file string, to *index) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("open the index: %w", err)
	}
	err = json.NewDecoder(io.LimitReader(f, maxIndex)).Decode(to)
	return errors.Join(err, f.Close())
}

func (i *Images) isComplete(rec record) bool {
	info, err := os.Stat(i.modulePath(rec.Module))
	return err == nil && info.Mode().IsRegular() && info.Size() == rec.Size
}

// sweep removes modules that no image has.
func (i *Images) sweep() error {
	wanted := map[string]bool{}
	for _, rec := range i.index.Images {
		wanted[filepath.Base(i.modulePath(rec.Module))] = true
	}
	entries, err := os.ReadDir(i.modules())
	if err != nil {
		return fmt.Errorf("list modules: %w", err)
	}
	for _, e := range entries {
		if wanted[e.Name()] {
			continue
		}
		if err := os.Remove(filepath.Join(i.modules(), e.Name())); err != nil {
			i.log.Warn("an unused module cannot be removed", "err", err)
		}
	}
	return nil
}

func (i *Images) modulePath(digest string) string {
	return filepath.Join(i.modules(), strings.TrimPrefix(digest, "sha256:")+".wasm")
}

// cached is the image that the reference had when it was last resolved.
func (i *Images) cached(r reference) (record, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	digest := r.digest
	if digest == "" {
		digest = i.index.References[r.key]
	}
	return i.touch(digest)
}

// touch notes that the image was used now.
func (i *Images) touch(digest string) (record, bool) {
	rec, ok := i.index.Images[digest]
	if ok {
		rec.LastUsed = time.Now()
		i.index.Images[digest] = rec
	}
	return rec, ok
}

// refer notes that the reference means the digest, if that is here.
func (i *Images) refer(r reference, digest string) (record, bool, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	rec, ok := i.touch(digest)
	if !ok || r.digest != "" || i.index.References[r.key] == digest {
		return rec, ok, nil
	}
	i.index.References[r.key] = digest
	return rec, ok, i.save()
}

// add notes an image whose module is in its file.
func (i *Images) add(rec record) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	rec.LastUsed = time.Now()
	i.index.Images[rec.Digest] = rec
	i.collect()
	return i.save()
}

// save writes the index.
func (i *Images) save() error {
	encoded, err := json.MarshalIndent(i.index, "", "\t")
	if err != nil {
		return fmt.Errorf("encode the index of images: %w", err)
	}
	f, err := i.create()
	if err != nil {
		return err
	}
	defer f.discard()
	if _, err := f.Write(encoded); err != nil {
		return fmt.Errorf("write the index of images: %w", err)
	}
	return f.commit(i.indexFile())
}
