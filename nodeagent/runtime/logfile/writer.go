package logfile

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Options bound what one log keeps on disk.
type Options struct {
	// MaxBytes of one file, after which a new one is begun; 0: 10 MiB.
	MaxBytes int64
	// MaxFiles that are kept, with the one that is being written; 0: 5.
	MaxFiles int
}

func (o Options) withDefaults() Options {
	if o.MaxBytes <= 0 {
		o.MaxBytes = 10 << 20
	}
	if o.MaxFiles <= 0 {
		o.MaxFiles = 5
	}
	return o
}

// Writer writes one log. Its streams may be written concurrently, each by one goroutine.
type Writer struct {
	path string
	opts Options

	mu      sync.Mutex
	file    *os.File // nil when closed, or when the last rotation failed
	size    int64
	closed  bool
	buf     []byte
	changed chan struct{} // closed by the next write, if somebody waits; else nil
}

// Create opens the log at path to be written at its end; folders are made as needed (0700, files 0600). Who
// creates a Writer closes it, after its streams.
func Create(path string, o Options) (*Writer, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("logfile: create: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("logfile: create: %w", err)
	}
	w := &Writer{path: path, opts: o.withDefaults()}
	if err := w.open(); err != nil {
		return nil, err
	}
	open.add(w)
	return w, nil
}

// open opens the file and ends a line that an earlier writer could not finish.
func (w *Writer) open() error {
	f, err := os.OpenFile(w.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("logfile: create: %w", err)
	}
	size, err := endLine(f)
	if err != nil {
		f.Close() // the first error says more
		return fmt.Errorf("logfile: create: %w", err)
	}
	w.file, w.size = f, size
	return nil
}

// endLine makes sure that the file is empty or ends with a newline, and returns its size.
func endLine(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return 0, err
	}
	var last [1]byte
	if _, err := f.ReadAt(last[:], info.Size()-1); err != nil {
		return 0, err
	}
	if last[0] == '\n' {
		return info.Size(), nil
	}
	_, err = f.Write([]byte{'\n'})
	return info.Size() + 1, err
}

// Close closes the file. Streams must have been closed before; what is written later is refused with os.ErrClosed.
func (w *Writer) Close() error {
	open.drop(w)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.notify()
	if w.file == nil {
		return nil
	}
	err := w.file.Close()
	w.file = nil
	return err
}

// Stream returns a writer for "stdout" or "stderr". Lines appear in the file when they are complete, when they
// are longer than 16 KiB, or on Close. Write returns the errors of the file system.
func (w *Writer) Stream(name string) io.WriteCloser { return &stream{w: w, name: name} }

// changes returns a channel that is closed by the next write or Close.
func (w *Writer) changes() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.changed == nil {
		w.changed = make(chan struct{})
	}
	return w.changed
}

func (w *Writer) notify() {
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}

// write writes the records of text. end says that the last line ends with it, also without a newline.
func (w *Writer) write(stream string, text []byte, end bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.ready(); err != nil {
		return err
	}
	w.buf = appendLines(w.buf[:0], time.Now(), stream, text, end)
	n, err := w.file.Write(w.buf)
	w.size += int64(n)
	if cap(w.buf) > 8*maxPart {
		w.buf = nil
	}
	w.notify()
	if err != nil {
		return fmt.Errorf("logfile: write: %w", err)
	}
	return nil
}

// ready leaves a file open that has room.
func (w *Writer) ready() error {
	if w.closed {
		return os.ErrClosed
	}
	if w.file != nil && w.size < w.opts.MaxBytes {
		return nil
	}
	if w.file != nil {
		err := w.file.Close()
		w.file = nil
		if err != nil {
			return fmt.Errorf("logfile: rotate: %w", err)
		}
		if err := rotate(w.path, w.opts.MaxFiles-1); err != nil {
			return err
		}
	}
	return w.open()
}

// appendLines appends the records of text. A last line without a newline is whole if end says so, else a part.
func appendLines(b []byte, now time.Time, stream string, text []byte, end bool) []byte {
	for len(text) > 0 {
		line, rest, found := bytes.Cut(text, []byte{'\n'})
		for len(line) > maxPart {
			b = appendRecord(b, now, stream, false, line[:maxPart])
			line = line[maxPart:]
		}
		b = appendRecord(b, now, stream, found || end, line)
		text = rest
	}
	return b
}

// stream is one of the two outputs.
type stream struct {
	w    *Writer
	name string
	line []byte // begun, shorter than maxPart, without newline
	part bool   // parts of this line have been written
}

func (s *stream) Write(p []byte) (int, error) {
	written := 0
	if i := bytes.IndexByte(p, '\n'); i >= 0 && len(s.line) > 0 {
		// Finish the line that was begun.
		if err := s.flush(append(s.line, p[:i+1]...), true); err != nil {
			return 0, err
		}
		written, p = i+1, p[i+1:]
	}
	if i := bytes.LastIndexByte(p, '\n'); i >= 0 {
		if err := s.flush(p[:i+1], true); err != nil {
			return written, err
		}
		written, p = written+i+1, p[i+1:]
	}
	for len(s.line)+len(p) >= maxPart {
		n := maxPart - len(s.line)
		if err := s.flush(append(s.line, p[:n]...), false); err != nil {
			return written, err
		}
		written, p = written+n, p[n:]
	}
	s.line = append(s.line, p...)
	return written + len(p), nil
}

// flush writes text, which begins with what was kept of the line. whole says that it ends a line.
func (s *stream) flush(text []byte, whole bool) error {
	s.line = s.line[:0]
	s.part = !whole
	return s.w.write(s.name, text, whole)
}

// Close writes a line that was begun. It does not close the Writer.
func (s *stream) Close() error {
	if len(s.line) > 0 {
		return s.flush(s.line, true)
	}
	if s.part {
		s.part = false
		return s.w.write(s.name, []byte{'\n'}, true)
	}
	return nil
}
