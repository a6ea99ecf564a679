package logfile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// lines reads lines from a file that may grow.
type lines struct {
	r    *bufio.Reader
	part []byte // of a line whose end is not there yet
	skip bool   // the line is longer than maxRecord: nothing of it is kept
}

func newLines(r io.Reader) lines { return lines{r: bufio.NewReaderSize(r, 32<<10)} }

// next returns the next line without its newline, valid until the next call. io.EOF says that there is none yet.
func (l *lines) next() ([]byte, error) {
	for {
		chunk, err := l.r.ReadSlice('\n')
		if err == nil && len(l.part) == 0 && !l.skip {
			return chunk[:len(chunk)-1], nil
		}
		if err != nil && err != io.EOF && err != bufio.ErrBufferFull {
			return nil, fmt.Errorf("logfile: read: %w", err)
		}
		if l.part = append(l.part, chunk...); len(l.part) > maxRecord || l.skip {
			l.part, l.skip = nil, true
		}
		switch {
		case err == io.EOF:
			return nil, io.EOF
		case err == bufio.ErrBufferFull:
			// The line goes on.
		case l.skip:
			l.skip = false
		default:
			line := l.part[:len(l.part)-1]
			l.part = l.part[:0]
			return line, nil
		}
	}
}

// tape reads the files of one log as one, also while they are written and rotated.
type tape struct {
	path  string
	file  *os.File
	lines lines
	full  bool // the file was found to be full; what it has is being read
}

// openTape opens the log at its oldest file or, if only the last lines are wanted, at the newest file that has them all
// before or in it, and says how many lines to leave out.
func openTape(path string, tail *int64) (t *tape, skip int64, err error) {
	names, err := fileNames(path)
	if err != nil {
		return nil, 0, err
	}
	if tail == nil {
		f, err := openFirst(names)
		if err != nil {
			return nil, 0, err
		}
		return newTape(path, f), 0, nil
	}
	f, total, err := openLast(names, *tail)
	if err != nil {
		return nil, 0, err
	}
	return newTape(path, f), max(0, total-*tail), nil
}

func newTape(path string, f *os.File) *tape { return &tape{path: path, file: f, lines: newLines(f)} }

// openFirst opens the first file that is still there.
func openFirst(names []string) (*os.File, error) {
	for i, name := range names {
		f, err := openShared(name)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, fs.ErrNotExist) || i == len(names)-1 {
			return nil, fmt.Errorf("logfile: %w", err)
		}
	}
	panic("logfile: a log without a name")
}

// openLast opens files from the last one backwards until they have enough lines. It returns the first of these, at its
// beginning, and how many lines they have.
func openLast(names []string, enough int64) (first *os.File, total int64, err error) {
	for i := len(names) - 1; i >= 0 && (first == nil || total < enough); i-- {
		f, err := openShared(names[i])
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var n int64
		if err == nil {
			n, err = countLines(f)
		}
		if first != nil {
			first.Close() // only read
		}
		if first = f; err != nil {
			f.Close() // nil or only read
			return nil, 0, fmt.Errorf("logfile: %w", err)
		}
		total += n
	}
	if first == nil {
		return nil, 0, fmt.Errorf("logfile: %w", &fs.PathError{Op: "open", Path: names[len(names)-1], Err: fs.ErrNotExist})
	}
	return first, total, nil
}

// countLines counts the lines that end in f, and rewinds it.
func countLines(f *os.File) (int64, error) {
	n := int64(0)
	for l := newLines(f); ; {
		line, err := l.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0, err
		}
		if r, err := parse(line); err == nil && r.whole {
			n++
		}
	}
	_, err := f.Seek(0, io.SeekStart)
	return n, err
}

// next returns the next record, valid until the next call. io.EOF says that there is none yet.
func (t *tape) next() (record, error) {
	for {
		line, err := t.lines.next()
		if err == nil {
			if r, err := parse(line); err == nil {
				return r, nil
			}
			continue // not ours to judge; what can be read is
		}
		if err != io.EOF {
			return record{}, err
		}
		moved, err := t.turn()
		if err != nil {
			return record{}, err
		}
		if !moved {
			return record{}, io.EOF
		}
	}
}

// turn is called at the end of a file. It reports false if that is the end of the log, for now. A full file is
// read once more before the next one, because it may have been written after it was read and before it was full.
func (t *tape) turn() (bool, error) {
	live, err := os.Stat(t.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("logfile: %w", err)
	}
	mine, err := t.file.Stat()
	if err != nil {
		return false, fmt.Errorf("logfile: %w", err)
	}
	if live != nil && os.SameFile(live, mine) {
		return false, nil
	}
	if !t.full {
		t.full = true
		return true, nil
	}
	next, err := t.successor(mine)
	if next == nil || err != nil {
		return false, err
	}
	t.close()
	t.file, t.lines, t.full = next, newLines(next), false
	return true, nil
}

// successor opens the file after mine, nil if there is none yet.
func (t *tape) successor(mine fs.FileInfo) (*os.File, error) {
	for {
		name, err := nameAfter(t.path, mine)
		if err != nil {
			return nil, err
		}
		f, err := openShared(name)
		if errors.Is(err, fs.ErrNotExist) {
			if name == t.path {
				return nil, nil
			}
			continue // removed as the oldest one: the one after it, then
		}
		if err != nil {
			return nil, fmt.Errorf("logfile: %w", err)
		}
		// Another rotation between finding the name and opening it would mean a gap.
		if again, err := nameAfter(t.path, mine); again == name && err == nil {
			return f, nil
		}
		f.Close() // only read
	}
}

func (t *tape) close() { t.file.Close() } // only read: nothing can be lost

// fileNames returns the names of the log's files, oldest first; the last one is path itself.
func fileNames(path string) ([]string, error) {
	numbers, err := segments(path)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(numbers)+1)
	for _, n := range numbers {
		names = append(names, segmentPath(path, n))
	}
	return append(names, path), nil
}

// nameAfter returns the name of the file after mine; the oldest one's, if mine has been removed.
func nameAfter(path string, mine fs.FileInfo) (string, error) {
	names, err := fileNames(path)
	if err != nil {
		return "", err
	}
	for i, name := range names[:len(names)-1] {
		if info, err := os.Stat(name); err == nil && os.SameFile(info, mine) {
			return names[i+1], nil
		}
	}
	return names[0], nil
}
