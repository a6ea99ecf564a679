package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"wherry/wasm/artifact"
)

// maxLinks bounds how many links are followed to a file.
const maxLinks = 16

// Marks of removed files in layers (OCI image specification, layer.md).
const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

// fetchFile keeps the module that is a file in the root filesystem that the layers make. Only that file is unpacked.
func (i *Images) fetchFile(ctx context.Context, m *remoteImage, layers []artifact.Descriptor, name string) (string, int64, error) {
	var size int64
	for _, layer := range layers {
		size += max(layer.Size, 0)
	}
	if size > i.config.MaxImageBytes {
		return "", 0, fmt.Errorf("its layers have %d bytes, at most %d are allowed", size, i.config.MaxImageBytes)
	}
	s := &stack{images: i, ctx: ctx, remote: m, layers: layers, files: make([]*file, len(layers))}
	defer s.close()
	out, err := i.create()
	if err != nil {
		return "", 0, err
	}
	defer out.discard()
	hash := sha256.New()
	checked := &moduleWriter{to: io.MultiWriter(out, hash)}
	n, err := s.copyFile(name, checked)
	if err == nil {
		err = checked.finish()
	}
	if err != nil {
		return "", 0, err
	}
	digest := fmt.Sprintf("sha256:%x", hash.Sum(nil))
	return digest, n, out.commit(i.modulePath(digest))
}

// stack is the layers of an image, downloaded and verified when they are looked at first.
type stack struct {
	images *Images
	ctx    context.Context // of the pull
	remote *remoteImage
	layers []artifact.Descriptor // the lowest first
	files  []*file
}

func (s *stack) close() {
	for _, f := range s.files {
		if f != nil {
			f.discard()
		}
	}
}

// copyFile writes the file to w and says its size.
func (s *stack) copyFile(name string, w io.Writer) (int64, error) {
	wanted := name
links:
	for range maxLinks {
		for n := range slices.Backward(s.layers) {
			f, err := s.search(n, name, w)
			switch {
			case err != nil:
				return 0, fmt.Errorf("layer %s: %w", s.layers[n].Digest, err)
			case f.copied:
				return f.size, nil
			case f.link != "":
				name = f.link
				continue links
			case f.removed:
				return 0, fmt.Errorf("its entrypoint %q is not in the image", wanted)
			}
		}
		return 0, fmt.Errorf("its entrypoint %q is not in the image", wanted)
	}
	return 0, fmt.Errorf("its entrypoint %q is behind too many links", wanted)
}

// finding is what a layer says of a path. The zero value: nothing.
type finding struct {
	copied  bool
	size    int64
	link    string // the path to look for instead, from the top layer on
	removed bool   // lower layers do not count
}

// search looks for a path in one layer; a file is written to w.
func (s *stack) search(n int, name string, w io.Writer) (finding, error) {
	blob, err := s.layer(n)
	if err != nil {
		return finding{}, err
	}
	unpacked, closeUnpacked, err := decompress(blob)
	if err != nil {
		return finding{}, err
	}
	defer closeUnpacked()
	limit := s.images.config.MaxImageBytes
	return find(tar.NewReader(io.LimitReader(unpacked, limit)), name, limit, w)
}

func (s *stack) layer(n int) (io.Reader, error) {
	if s.files[n] == nil {
		f, err := s.images.create()
		if err != nil {
			return nil, err
		}
		s.files[n] = f
		if err := s.remote.blob(s.ctx, s.layers[n], f); err != nil {
			return nil, err
		}
	}
	if _, err := s.files[n].Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read again: %w", err)
	}
	return s.files[n], nil
}

// decompress tells the compression by its first bytes.
func decompress(r io.Reader) (io.Reader, func(), error) {
	buffered := bufio.NewReader(r)
	first, err := buffered.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, fmt.Errorf("read: %w", err)
	}
	switch {
	case bytes.HasPrefix(first, []byte{0x1f, 0x8b}):
		unzipped, err := gzip.NewReader(buffered)
		return unzipped, func() {}, err
	case bytes.Equal(first, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		unzipped, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			return nil, nil, err
		}
		return unzipped, unzipped.Close, nil
	}
	return buffered, func() {}, nil
}

// find reads a layer for one path. A later entry replaces an earlier one only among marks and links: the first file ends
// the search. A file of more than limit bytes, as sparse ones may claim to be, is an error.
func find(t *tar.Reader, name string, limit int64, w io.Writer) (finding, error) {
	var found finding
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return finding{}, fmt.Errorf("unpack: %w", err)
		}
		switch entry := clean(h.Name); {
		case entry == name && h.Typeflag == tar.TypeReg && h.Size > limit:
			return finding{}, fmt.Errorf("unpack %s: it has %d bytes, at most %d are allowed", name, h.Size, limit)
		case entry == name && h.Typeflag == tar.TypeReg:
			n, err := io.Copy(w, t)
			if err != nil {
				return finding{}, fmt.Errorf("unpack %s: %w", name, err)
			}
			return finding{copied: true, size: n}, nil
		case hides(entry, name):
			found.removed = true
		case entry != name && !strings.HasPrefix(name, entry+"/"):
		case h.Typeflag == tar.TypeSymlink:
			found.link = clean(path.Join(target(entry, h.Linkname), strings.TrimPrefix(name, entry)))
		case h.Typeflag == tar.TypeLink:
			found.link = clean(h.Linkname)
		}
	}
}

// hides says that an entry removes what lower layers have at the path.
func hides(entry, name string) bool {
	dir, base := path.Split(entry)
	if base == opaque {
		return strings.HasPrefix(name, dir)
	}
	removed, ok := strings.CutPrefix(base, whiteout)
	removed = dir + removed
	return ok && (name == removed || strings.HasPrefix(name, removed+"/"))
}

func target(entry, link string) string {
	if path.IsAbs(link) {
		return link
	}
	return path.Join("/", path.Dir(entry), link)
}

// clean makes a path relative to the root, and never above it.
func clean(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }
