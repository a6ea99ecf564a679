package guestfs

import (
	archive "archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// extract reads an archive from standard input. What cannot be written is told, and the rest goes on.
func (t *tar) extract() {
	if t.streams.Stdin == nil {
		t.fail("-", "Cannot read", errors.New("there is no standard input: kubectl exec needs -i"))
		return
	}
	r := archive.NewReader(reader{t, t.streams.Stdin})
	for {
		header, err := r.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = t.member()
		}
		if err != nil {
			t.fail("-", "This does not look like a tar archive", err)
			return
		}
		if err := t.unpack(header, r); err != nil {
			t.fail(header.Name, "Cannot write", err)
		}
	}
	// What comes after the end, which the writer waits to get rid of.
	_, _ = io.Copy(io.Discard, reader{t, t.streams.Stdin}) // the archive was whole
}

func (t *tar) unpack(header *archive.Header, content io.Reader) error {
	name := strings.TrimLeft(header.Name, "/")
	if slices.Contains(strings.Split(name, "/"), "..") {
		return errors.New("member name contains '..'")
	}
	abs := t.abs(path.Join(t.into, name))
	if header.Typeflag == archive.TypeDir && t.isDir(abs) {
		return nil
	}
	p, err := t.writable(abs)
	if err != nil {
		return err
	}
	if p.file != "" || p.name == "." {
		return t.overwrite(p, header, content)
	}
	if parent := path.Dir(p.name); parent != "." {
		if err := p.root.MkdirAll(parent, 0o755); err != nil {
			return err
		}
	}
	return t.make(p, header, content)
}

// overwrite writes to a mounted file, which stays the same one.
func (t *tar) overwrite(p place, header *archive.Header, content io.Reader) error {
	if p.file == "" || header.Typeflag != archive.TypeReg {
		return errors.New("it is where a volume is mounted")
	}
	file, err := p.root.OpenFile(p.name, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	return errors.Join(err, file.Close())
}

func (t *tar) make(p place, header *archive.Header, content io.Reader) error {
	switch header.Typeflag {
	case archive.TypeDir:
		err := p.root.Mkdir(p.name, t.mode(header)|0o700)
		if err != nil {
			return err
		}
		return t.stamp(p, header)
	case archive.TypeReg:
		return t.makeFile(p, header, content)
	case archive.TypeSymlink:
		if err := outside(p.name, header.Linkname); err != nil {
			return err
		}
		if err := clearWay(p); err != nil {
			return err
		}
		return p.root.Symlink(header.Linkname, p.name)
	}
	return fmt.Errorf("members of type %q are not supported", header.Typeflag)
}

// outside refuses links that would lead out of the mount, for others than guests who read it.
func outside(name, target string) error {
	if path.IsAbs(target) || filepath.IsAbs(target) || !filepath.IsLocal(path.Join(path.Dir(name), target)) {
		return fmt.Errorf("a link to %s leads out of the volume", target)
	}
	return nil
}

// clearWay removes what is not a folder.
func clearWay(p place) error {
	info, err := p.root.Lstat(p.name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.IsDir():
		return errors.New("it is a folder")
	}
	return p.root.Remove(p.name)
}

func (t *tar) makeFile(p place, header *archive.Header, content io.Reader) error {
	if err := clearWay(p); err != nil {
		return err
	}
	file, err := p.root.OpenFile(p.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := p.root.Chmod(p.name, t.mode(header)|0o600); err != nil {
		return err
	}
	return t.stamp(p, header)
}

// mode is the one that a member gets; bits beyond permissions are not kept.
func (t *tar) mode(header *archive.Header) fs.FileMode {
	mode := header.FileInfo().Mode().Perm()
	if t.umask {
		mode &^= 0o022
	}
	return mode
}

func (t *tar) stamp(p place, header *archive.Header) error {
	if t.now || header.ModTime.IsZero() {
		return nil
	}
	return p.root.Chtimes(p.name, time.Time{}, header.ModTime)
}
