package ociregistry

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// format is the only one that this package reads and writes.
const format = 1

var (
	bucketMeta         = []byte("meta")
	bucketHolders      = []byte("holders")
	bucketRepositories = []byte("repositories")
	bucketManifests    = []byte("manifests")
	bucketTags         = []byte("tags")
	bucketReferrers    = []byte("referrers")
	keyFormat          = []byte("format")
)

// index is registry.db; see the package comment.
type index struct{ *bbolt.DB }

// openIndex opens the file, or makes it: whole or not at all, since it has its name only
// when it is complete.
func openIndex(path string) (*index, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := makeIndex(path + ".new"); err != nil {
			return nil, err
		}
		if err := errors.Join(os.Rename(path+".new", path), syncDir(filepath.Dir(path))); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, FreelistType: bbolt.FreelistMapType})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, errors.New("in use by another process")
	}
	if err != nil {
		return nil, err
	}
	if err := db.View(checkFormat); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &index{db}, nil
}

func makeIndex(path string) error {
	// What is there is the work of a process that ended before it was done.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		return err
	}
	return errors.Join(db.Update(initialize), db.Close())
}

func initialize(tx *bbolt.Tx) error {
	for _, name := range [][]byte{bucketMeta, bucketHolders, bucketRepositories} {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	return tx.Bucket(bucketMeta).Put(keyFormat, binary.BigEndian.AppendUint32(nil, format))
}

func checkFormat(tx *bbolt.Tx) error {
	meta := tx.Bucket(bucketMeta)
	if meta == nil {
		return errors.New("registry.db is not a registry's")
	}
	if b := meta.Get(keyFormat); len(b) != 4 || binary.BigEndian.Uint32(b) != format {
		return fmt.Errorf("registry.db has format %x instead of %d; use the release that wrote it", b, format)
	}
	return nil
}

func pair(a, b string) []byte { return []byte(a + "\x00" + b) }

// repository returns the repository's bucket, or nil. With make it is made if need be.
func repository(tx *bbolt.Tx, name string, create bool) (*bbolt.Bucket, error) {
	all := tx.Bucket(bucketRepositories)
	if !create {
		return all.Bucket([]byte(name)), nil
	}
	b, err := all.CreateBucketIfNotExists([]byte(name))
	if err != nil {
		return nil, err
	}
	for _, part := range [][]byte{bucketManifests, bucketTags, bucketReferrers} {
		if _, err := b.CreateBucketIfNotExists(part); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// hold enters that the repository has the blob.
func (x *index) hold(name, digest string, size int64) error {
	return x.Update(func(tx *bbolt.Tx) error {
		if _, err := repository(tx, name, true); err != nil {
			return err
		}
		return tx.Bucket(bucketHolders).Put(pair(digest, name), binary.BigEndian.AppendUint64(nil, uint64(size)))
	})
}

// holds says whether the repository has the blob, and its size.
func (x *index) holds(name, digest string) (size int64, ok bool, err error) {
	err = x.View(func(tx *bbolt.Tx) error {
		size, ok = heldBy(tx, name, digest)
		return nil
	})
	return size, ok, err
}

func heldBy(tx *bbolt.Tx, name, digest string) (int64, bool) {
	b := tx.Bucket(bucketHolders).Get(pair(digest, name))
	if len(b) != 8 {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(b)), true
}

// release takes the blob from the repository and says whether another still has it.
func (x *index) release(name, digest string) (others bool, err error) {
	err = x.Update(func(tx *bbolt.Tx) error {
		holders := tx.Bucket(bucketHolders)
		if holders.Get(pair(digest, name)) == nil {
			return unknownBlob(digest)
		}
		if err := holders.Delete(pair(digest, name)); err != nil {
			return err
		}
		k, _ := holders.Cursor().Seek(pair(digest, ""))
		others = bytes.HasPrefix(k, pair(digest, ""))
		return nil
	})
	return others, err
}

// held are the digests that some repository has.
func (x *index) held() (map[string]bool, error) {
	held := map[string]bool{}
	err := x.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketHolders).ForEach(func(k, _ []byte) error {
			digest, _, _ := bytes.Cut(k, []byte{0})
			held[string(digest)] = true
			return nil
		})
	})
	return held, err
}

// storedManifest is a manifest as it was pushed.
type storedManifest struct {
	digest    string
	mediaType string
	content   []byte
}

// manifest finds a manifest by its tag or digest.
func (x *index) manifest(name, reference string) (m storedManifest, err error) {
	err = x.View(func(tx *bbolt.Tx) error {
		b, err := repository(tx, name, false)
		if err != nil {
			return err
		}
		if b == nil {
			return unknownName(name)
		}
		m.digest = reference
		if tagGrammar.MatchString(reference) {
			m.digest = string(b.Bucket(bucketTags).Get([]byte(reference)))
		}
		mediaType, content, ok := bytes.Cut(b.Bucket(bucketManifests).Get([]byte(m.digest)), []byte{0})
		if !ok {
			return unknownManifest(name, reference)
		}
		m.mediaType, m.content = string(mediaType), bytes.Clone(content)
		return nil
	})
	return m, err
}

// putManifest stores a manifest whose digest has been verified, if all that it needs is
// there, and gives it the tag unless that is empty.
func (x *index) putManifest(name, tag string, m storedManifest, p *parsedManifest) error {
	return x.Update(func(tx *bbolt.Tx) error {
		b, err := repository(tx, name, true)
		if err != nil {
			return err
		}
		if err := complete(tx, b, name, p); err != nil {
			return err
		}
		value := append(append([]byte(m.mediaType), 0), m.content...)
		if err := b.Bucket(bucketManifests).Put([]byte(m.digest), value); err != nil {
			return err
		}
		if p.Subject != nil {
			if err := refer(b, p, m); err != nil {
				return err
			}
		}
		if tag == "" {
			return nil
		}
		return b.Bucket(bucketTags).Put([]byte(tag), []byte(m.digest))
	})
}

// complete checks that the repository has what the manifest is made of.
func complete(tx *bbolt.Tx, b *bbolt.Bucket, name string, p *parsedManifest) error {
	for _, d := range p.blobs() {
		if _, ok := heldBy(tx, name, d.Digest.String()); !ok {
			return refuse(404, "MANIFEST_BLOB_UNKNOWN", "the manifest names the blob %s, which is not in repository %s", d.Digest, name)
		}
	}
	for _, d := range p.Manifests {
		if b.Bucket(bucketManifests).Get([]byte(d.Digest.String())) == nil {
			return refuse(404, "MANIFEST_BLOB_UNKNOWN", "the index names the manifest %s, which is not in repository %s", d.Digest, name)
		}
	}
	return nil
}

func refer(b *bbolt.Bucket, p *parsedManifest, m storedManifest) error {
	d, err := json.Marshal(p.descriptor(m))
	if err != nil {
		return err
	}
	return b.Bucket(bucketReferrers).Put(pair(p.Subject.Digest.String(), m.digest), d)
}

// deleteTag removes the name, not the manifest.
func (x *index) deleteTag(name, tag string) error {
	return x.Update(func(tx *bbolt.Tx) error {
		b, err := repository(tx, name, false)
		if err != nil {
			return err
		}
		if b == nil || b.Bucket(bucketTags).Get([]byte(tag)) == nil {
			return unknownManifest(name, tag)
		}
		return b.Bucket(bucketTags).Delete([]byte(tag))
	})
}

// deleteManifest removes a manifest with all its tags, and what it says of its subject.
func (x *index) deleteManifest(name, digest string) error {
	return x.Update(func(tx *bbolt.Tx) error {
		b, err := repository(tx, name, false)
		if err != nil {
			return err
		}
		if b == nil || b.Bucket(bucketManifests).Get([]byte(digest)) == nil {
			return unknownManifest(name, digest)
		}
		return errors.Join(
			b.Bucket(bucketManifests).Delete([]byte(digest)),
			deleteWhere(b.Bucket(bucketTags), func(_, v []byte) bool { return string(v) == digest }),
			deleteWhere(b.Bucket(bucketReferrers), func(k, _ []byte) bool { return bytes.HasSuffix(k, pair("", digest)) }),
		)
	})
}

func deleteWhere(b *bbolt.Bucket, match func(k, v []byte) bool) error {
	var keys [][]byte
	err := b.ForEach(func(k, v []byte) error {
		if match(k, v) {
			keys = append(keys, bytes.Clone(k))
		}
		return nil
	})
	for _, k := range keys {
		err = errors.Join(err, b.Delete(k))
	}
	return err
}

// names lists keys after last, in byte order, at most n of them (n < 0: all), and says
// whether there are more.
func names(b *bbolt.Bucket, last string, n int) (list []string, more bool) {
	list = []string{}
	c := b.Cursor()
	for k, _ := c.Seek([]byte(last)); k != nil; k, _ = c.Next() {
		if string(k) == last {
			continue
		}
		if len(list) == n {
			return list, true
		}
		list = append(list, string(k))
	}
	return list, false
}

func (x *index) tags(name, last string, n int) (list []string, more bool, err error) {
	err = x.View(func(tx *bbolt.Tx) error {
		b, err := repository(tx, name, false)
		if err != nil {
			return err
		}
		if b == nil {
			return unknownName(name)
		}
		list, more = names(b.Bucket(bucketTags), last, n)
		return nil
	})
	return list, more, err
}

func (x *index) repositories(last string, n int) (list []string, more bool, err error) {
	err = x.View(func(tx *bbolt.Tx) error {
		list, more = names(tx.Bucket(bucketRepositories), last, n)
		return nil
	})
	return list, more, err
}

// referrers lists the manifests whose subject has the digest.
func (x *index) referrers(name, digest string) ([]v1.Descriptor, error) {
	list := []v1.Descriptor{}
	err := x.View(func(tx *bbolt.Tx) error {
		b, err := repository(tx, name, false)
		if b == nil || err != nil {
			return err
		}
		c := b.Bucket(bucketReferrers).Cursor()
		for k, v := c.Seek(pair(digest, "")); bytes.HasPrefix(k, pair(digest, "")); k, v = c.Next() {
			var d v1.Descriptor
			if err := json.Unmarshal(v, &d); err != nil {
				return fmt.Errorf("referrer %x: %w", k, err)
			}
			list = append(list, d)
		}
		return nil
	})
	return list, err
}
