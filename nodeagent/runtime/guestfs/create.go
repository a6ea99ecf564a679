package guestfs

import (
	archive "archive/tar"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"
)

// create writes the paths to standard output.
func (t *tar) create() {
	w := archive.NewWriter(t.streams.Stdout)
	for _, name := range t.paths {
		abs := t.abs(name)
		if !path.IsAbs(name) {
			abs = t.abs(path.Join(t.into, name))
		}
		if err := t.add(w, name, abs, 0); err != nil {
			t.fail(name, "Cannot write", err)
			return
		}
	}
	if err := w.Close(); err != nil {
		t.fail("-", "Cannot write", err)
	}
}

// maxDepth is how deep folders may lie in each other.
const maxDepth = 255

// add writes a path, and what is in it. Errors end the archive.
func (t *tar) add(w *archive.Writer, name, abs string, depth int) error {
	if err := t.member(); err != nil {
		return err
	}
	p, err := t.at(abs)
	var info fs.FileInfo
	if err == nil {
		info, err = p.root.Lstat(p.name)
	}
	if err != nil && t.between(abs) {
		return t.addDir(w, name, abs, &archive.Header{Mode: 0o755, ModTime: time.Now()}, depth)
	}
	if err != nil {
		t.fail(name, "Cannot stat", err)
		return nil
	}
	header := &archive.Header{Name: member(name), Mode: int64(info.Mode().Perm()), ModTime: info.ModTime()}
	switch {
	case info.IsDir():
		return t.addDir(w, name, abs, header, depth)
	case info.Mode().Type() == fs.ModeSymlink:
		header.Typeflag = archive.TypeSymlink
		if header.Linkname, err = p.root.Readlink(p.name); err != nil {
			t.fail(name, "Cannot readlink", err)
			return nil
		}
		return w.WriteHeader(header)
	case info.Mode().IsRegular():
		header.Typeflag, header.Size = archive.TypeReg, info.Size()
		return t.addFile(w, name, p, header)
	}
	t.say("tar: " + name + ": file ignored: it is neither a file, a folder nor a link")
	return nil
}

// member is a path's name in the archive.
func member(name string) string {
	if name = strings.TrimLeft(path.Clean(name), "/"); name != "" {
		return name
	}
	return "."
}

func (t *tar) addDir(w *archive.Writer, name, abs string, header *archive.Header, depth int) error {
	if depth > maxDepth {
		t.failed = true
		t.say("tar: " + name + ": too deep")
		return nil
	}
	header.Typeflag, header.Name = archive.TypeDir, member(name)+"/"
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	names, err := t.names(abs)
	if err != nil {
		t.fail(name, "Cannot open", err)
		return nil
	}
	for _, child := range names {
		if err := t.add(w, path.Join(name, child), path.Join(abs, child), depth+1); err != nil {
			return err
		}
	}
	return nil
}

// addFile writes a file with the size that it had. One that has become shorter is filled up with zeros.
func (t *tar) addFile(w *archive.Writer, name string, p place, header *archive.Header) error {
	file, err := p.root.Open(p.name)
	if err != nil {
		t.fail(name, "Cannot open", err)
		return nil
	}
	defer file.Close() // it was only read
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	n, err := io.Copy(w, reader{t, io.LimitReader(file, header.Size)})
	if n == header.Size || t.ctx.Err() != nil {
		return err
	}
	if n < header.Size {
		t.failed = true
		t.say("tar: " + name + ": File shrank; padding with zeros")
		_, err = io.CopyN(w, reader{t, zeros{}}, header.Size-n)
	}
	return err
}

// reader ends with the run.
type reader struct {
	t *tar
	r io.Reader
}

func (r reader) Read(b []byte) (int, error) {
	if err := r.t.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(b)
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
