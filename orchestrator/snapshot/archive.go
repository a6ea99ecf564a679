package snapshot

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

const (
	format       = 1
	manifestName = "manifest.json"
	stateName    = "state.db"
)

// Bounds of what is read from an archive.
const (
	maxManifest = 64 << 20
	maxFiles    = 1 << 20
)

// ErrDamaged says that an archive is not whole, or no snapshot.
var ErrDamaged = errors.New("snapshot is damaged")

// Manifest says what a snapshot holds.
type Manifest struct {
	Format   int       `json:"format"`
	Cluster  string    `json:"cluster"`  // the id in the CA's subject
	Revision uint64    `json:"revision"` // of the state
	Created  time.Time `json:"created"`
	Version  string    `json:"version"` // of the program that wrote it
	Files    []File    `json:"files"`
}

// File is one member.
type File struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"` // hexadecimal
}

// Source is a control plane that snapshots are made of.
type Source struct {
	Dir              string // the data directory
	Cluster, Version string
	// State copies the store into a new file, and Registry the index of the images.
	State    func(ctx context.Context, path string) (revision uint64, err error)
	Registry func(path string) error
}

// Write writes a snapshot to w. scratch is an existing folder for copies of the databases, which are
// removed again.
func (s Source) Write(ctx context.Context, w io.Writer, scratch string, images bool) (Manifest, error) {
	work, err := os.MkdirTemp(scratch, ".making-*")
	if err != nil {
		return Manifest{}, fmt.Errorf("making a snapshot: %w", err)
	}
	zipped, _ := gzip.NewWriterLevel(w, gzip.BestSpeed) // the level is a valid one
	a := &archiver{tar: tar.NewWriter(zipped), Manifest: Manifest{
		Format: format, Cluster: s.Cluster, Version: s.Version, Created: time.Now().UTC().Truncate(time.Second),
	}}
	err = s.write(ctx, a, work, images)
	if err == nil {
		err = errors.Join(a.finish(), a.tar.Close(), zipped.Close())
	}
	if err := errors.Join(err, os.RemoveAll(work)); err != nil {
		return Manifest{}, fmt.Errorf("making a snapshot: %w", err)
	}
	return a.Manifest, nil
}

func (s Source) write(ctx context.Context, a *archiver, work string, images bool) (err error) {
	state := filepath.Join(work, stateName)
	if a.Revision, err = s.State(ctx, state); err != nil {
		return err
	}
	if err := a.add(ctx, stateName, state); err != nil {
		return err
	}
	if err := a.addTree(ctx, s.Dir, "pki"); err != nil || !images {
		return err
	}
	index := filepath.Join(work, "registry.db")
	if err := s.Registry(index); err != nil {
		return err
	}
	if err := a.add(ctx, "registry/registry.db", index); err != nil {
		return err
	}
	return a.addTree(ctx, s.Dir, "registry/blobs")
}

// archiver writes members and remembers them for the manifest.
type archiver struct {
	tar *tar.Writer
	Manifest
}

// addTree adds the files below a folder of root. Those that vanish meanwhile (images that somebody
// deletes) are left out.
func (a *archiver) addTree(ctx context.Context, root, folder string) error {
	return filepath.WalkDir(filepath.Join(root, filepath.FromSlash(folder)), func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			var name string
			if name, err = filepath.Rel(root, p); err == nil {
				err = a.add(ctx, filepath.ToSlash(name), p)
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

func (a *archiver) add(ctx context.Context, name, file string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close() // only read
	info, err := f.Stat()
	if err != nil {
		return err
	}
	sum := sha256.New()
	if err := a.put(name, info.Size(), io.TeeReader(f, sum)); err != nil {
		return err
	}
	a.Files = append(a.Files, File{Name: name, Bytes: info.Size(), SHA256: sumOf(sum)})
	return nil
}

func (a *archiver) put(name string, size int64, content io.Reader) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: a.Created, Format: tar.FormatPAX}
	if err := a.tar.WriteHeader(h); err != nil {
		return err
	}
	if n, err := io.CopyN(a.tar, content, size); err != nil {
		return fmt.Errorf("%s: %d of %d bytes: %w", name, n, size, err)
	}
	return nil
}

func (a *archiver) finish() error {
	data, err := json.Marshal(a.Manifest)
	if err != nil {
		return err
	}
	return a.put(manifestName, int64(len(data)), strings.NewReader(string(data)))
}

func sumOf(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// Verify reads a whole snapshot and returns its manifest. Errors: ErrDamaged.
func Verify(r io.Reader) (Manifest, error) {
	return read(r, func(string, io.Reader) error { return nil })
}

// Extract writes the members of a snapshot into dir, which is empty or absent, and checks them. After an
// error nothing in dir is to be used. Errors: ErrDamaged.
func Extract(r io.Reader, dir string) (Manifest, error) {
	return read(r, func(name string, content io.Reader) error {
		target := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
			return err
		}
		f, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, content)
		return errors.Join(err, f.Sync(), f.Close())
	})
}

// read hands over each member and compares all of them with the manifest.
func read(r io.Reader, member func(name string, content io.Reader) error) (Manifest, error) {
	zipped, err := gzip.NewReader(r)
	if err != nil {
		return Manifest{}, damaged(err)
	}
	archive := tar.NewReader(zipped)
	seen := map[string]File{}
	for {
		h, err := archive.Next()
		if err != nil {
			return Manifest{}, damaged(fmt.Errorf("it has no manifest, so that it may have been cut off: %w", err))
		}
		if h.Name == manifestName {
			return finish(archive, zipped, seen)
		}
		if err := allowed(h, seen); err != nil {
			return Manifest{}, err
		}
		sum := sha256.New()
		content := &failing{r: io.TeeReader(archive, sum)}
		if err := member(h.Name, content); err != nil {
			return Manifest{}, err
		}
		if _, err := io.Copy(io.Discard, content); err != nil {
			return Manifest{}, err
		}
		seen[h.Name] = File{Name: h.Name, Bytes: h.Size, SHA256: sumOf(sum)}
	}
}

// failing marks what goes wrong with reading the archive as damage.
type failing struct{ r io.Reader }

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && err != io.EOF {
		err = damaged(err)
	}
	return n, err
}

// allowed says whether a member may be in a snapshot at all.
func allowed(h *tar.Header, seen map[string]File) error {
	top, _, _ := strings.Cut(h.Name, "/")
	_, twice := seen[h.Name]
	switch {
	case h.Typeflag != tar.TypeReg, path.Clean(h.Name) != h.Name, !filepath.IsLocal(filepath.FromSlash(h.Name)),
		h.Name != stateName && top != "pki" && top != "registry" || top == h.Name && top != stateName:
		return damaged(fmt.Errorf("a snapshot has no member %q", h.Name))
	case twice:
		return damaged(fmt.Errorf("%s is in it twice", h.Name))
	case len(seen) == maxFiles:
		return damaged(fmt.Errorf("it has more than %d members", maxFiles))
	}
	return nil
}

// finish reads the manifest and the end of the archive.
func finish(manifest, rest io.Reader, seen map[string]File) (Manifest, error) {
	var m Manifest
	if err := json.NewDecoder(io.LimitReader(manifest, maxManifest)).Decode(&m); err != nil {
		return m, damaged(fmt.Errorf("its manifest: %w", err))
	}
	if m.Format != format {
		return m, fmt.Errorf("snapshot has format %d and not %d: use the release that wrote it (%s)", m.Format, format, m.Version)
	}
	if _, err := io.Copy(io.Discard, rest); err != nil { // the checksum of gzip is behind the last byte
		return m, damaged(err)
	}
	for _, f := range m.Files {
		if seen[f.Name] != f {
			return m, damaged(fmt.Errorf("%s is not what was written", f.Name))
		}
		delete(seen, f.Name)
	}
	for name := range seen {
		return m, damaged(fmt.Errorf("its manifest does not name %s", name))
	}
	return m, nil
}

func damaged(err error) error { return fmt.Errorf("%w: %w", ErrDamaged, err) }
