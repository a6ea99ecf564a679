package logfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func create(t *testing.T, path string, o Options) *Writer {
	t.Helper()
	w, err := Create(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func write(t *testing.T, w io.Writer, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if n, err := io.WriteString(w, text); err != nil || n != len(text) {
			t.Fatalf("wrote %d of %d: %v", n, len(text), err)
		}
	}
}

func read(t *testing.T, path string, o ReadOptions) string {
	t.Helper()
	var b strings.Builder
	if err := Read(t.Context(), path, o, &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func tail(n int64) *int64 { return &n }

func TestFormat(t *testing.T) {
	long := strings.Repeat("x", maxPart)
	tests := []struct {
		name   string
		writes []string
		want   []string
	}{
		{"a line", []string{"hello\n"}, []string{"F hello"}},
		{"lines at once", []string{"a\n\nb\n"}, []string{"F a", "F ", "F b"}},
		{"a line in pieces", []string{"he", "ll", "o\nwo", "rld\n"}, []string{"F hello", "F world"}},
		{"no newline at the end", []string{"a\nb"}, []string{"F a", "F b"}},
		{"long line", []string{long + "yz\n"}, []string{"P " + long, "F yz"}},
		{"long line in pieces", []string{long[1:], "xy", "z\n"}, []string{"P " + long, "F yz"}},
		{"long line without newline", []string{long + long}, []string{"P " + long, "P " + long, "F "}},
		{"nothing", []string{""}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "made", "0.log")
				w := create(t, path, Options{})
				s := w.Stream("stdout")
				write(t, s, tt.writes...)
				if err := errors.Join(s.Close(), w.Close()); err != nil {
					t.Fatal(err)
				}
				data, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				var want string
				for _, line := range tt.want {
					want += "2000-01-01T00:00:00.000000000Z stdout " + line + "\n"
				}
				if diff := cmp.Diff(want, string(data)); diff != "" {
					t.Error(diff)
				}
				if got, want := read(t, path, ReadOptions{}), strings.Join(tt.writes, ""); strings.TrimSuffix(got, "\n") != strings.TrimSuffix(want, "\n") {
					t.Errorf("read back %.80q, want %.80q", got, want)
				}
			})
		})
	}
}

func TestCreateEndsTornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	if err := os.WriteFile(path, []byte("2026-01-01T00:00:00Z stdout F whole\n2026-01-01T00:00:00Z std"), 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, create(t, path, Options{}).Stream("stderr"), "next\n")
	if got, want := read(t, path, ReadOptions{}), "whole\nnext\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWriteAfterClose(t *testing.T) {
	w := create(t, filepath.Join(t.TempDir(), "0.log"), Options{})
	s := w.Stream("stdout")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte("late\n")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v, want os.ErrClosed", err)
	}
}

func TestRotation(t *testing.T) {
	for _, tt := range []struct {
		files int
		want  []string
	}{
		{1, []string{"0.log"}},
		{2, []string{"0.log", "0.log.9"}},
		{4, []string{"0.log", "0.log.7", "0.log.8", "0.log.9"}},
	} {
		t.Run(fmt.Sprint(tt.files), func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "0.log")
			s := create(t, path, Options{MaxBytes: 1, MaxFiles: tt.files}).Stream("stdout")
			for i := range 10 {
				write(t, s, fmt.Sprintln(i))
			}
			var got []string
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				got = append(got, e.Name())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			want := ""
			for i := 10 - tt.files; i < 10; i++ {
				want += fmt.Sprintln(i)
			}
			if got := read(t, path, ReadOptions{}); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestRemove(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "0.log")
	w := create(t, path, Options{MaxBytes: 1})
	write(t, w.Stream("stdout"), "a\n", "b\n", "c\n")
	w.Close()
	for range 2 {
		if err := Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left over: %v %v", entries, err)
	}
	if err := Read(t.Context(), path, ReadOptions{}, io.Discard); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read of nothing: %v", err)
	}
}

// writeSeconds writes the lines "0".."n-1", one a second, into several files.
func writeSeconds(t *testing.T, path string, n int) {
	s := create(t, path, Options{MaxBytes: 100, MaxFiles: 100}).Stream("stdout")
	for i := range n {
		write(t, s, fmt.Sprintln(i))
		<-time.After(time.Second)
	}
}

func TestReadOptions(t *testing.T) {
	tests := []struct {
		name string
		o    ReadOptions
		want string
	}{
		{"all", ReadOptions{}, "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n"},
		{"tail", ReadOptions{Tail: tail(2)}, "8\n9\n"},
		{"tail over files", ReadOptions{Tail: tail(7)}, "3\n4\n5\n6\n7\n8\n9\n"},
		{"tail of none", ReadOptions{Tail: tail(0)}, ""},
		{"tail of more than there is", ReadOptions{Tail: tail(100)}, "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n"},
		{"since", ReadOptions{Since: time.Date(2000, 1, 1, 0, 0, 8, 0, time.UTC)}, "8\n9\n"},
		{"tail and since", ReadOptions{Tail: tail(5), Since: time.Date(2000, 1, 1, 0, 0, 8, 0, time.UTC)}, "8\n9\n"},
		{"limit", ReadOptions{LimitBytes: 5}, "0\n1\n2"},
		{"limit at a line's end", ReadOptions{LimitBytes: 4}, "0\n1\n"},
		{"timestamps", ReadOptions{Tail: tail(1), Timestamps: true}, "2000-01-01T00:00:09.000000000Z 9\n"},
	}
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "0.log")
		writeSeconds(t, path, 10)
		for _, tt := range tests {
			if diff := cmp.Diff(tt.want, read(t, path, tt.o)); diff != "" {
				t.Errorf("%s: %s", tt.name, diff)
			}
		}
	})
}

func TestLongLineCountsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "0.log")
		long := strings.Repeat("x", 3*maxPart) + "\n"
		write(t, create(t, path, Options{MaxBytes: 1000}).Stream("stdout"), "a\n", long, "b\n")
		if got := read(t, path, ReadOptions{Tail: tail(2)}); got != long+"b\n" {
			t.Errorf("got %d bytes", len(got))
		}
		if got := read(t, path, ReadOptions{Tail: tail(2), Timestamps: true}); strings.Count(got, "2000-") != 2 {
			t.Errorf("%d time stamps", strings.Count(got, "2000-"))
		}
	})
}

func TestOneStream(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	w := create(t, path, Options{})
	out, warnings := w.Stream("stdout"), w.Stream("stderr")
	write(t, out, "a\n", "b\n")
	write(t, warnings, "x\n")
	write(t, out, "c\n")
	for stream, want := range map[string]string{"": "a\nb\nx\nc\n", "stdout": "a\nb\nc\n", "stderr": "x\n"} {
		if got := read(t, path, ReadOptions{Stream: stream}); got != want {
			t.Errorf("%q: %q, want %q", stream, got, want)
		}
	}
}

func TestMalformedLinesAreLeftOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	data := "nonsense\n" +
		"2026-01-01T00:00:00Z stdout F a\n" +
		"2026-01-01T00:00:00Z stdin F a\n" +
		"2026-01-01T00:00:00Z stdout X a\n" +
		strings.Repeat("y", 3*maxRecord) + "\n" +
		"2026-01-01T00:00:00Z stdout F:tag b\n" +
		"2026-01-01T00:00:00Z stdout F torn"
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, want := read(t, path, ReadOptions{}), "a\nb\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// follow reads in the background; the function that it returns waits for the end.
func follow(ctx context.Context, path string, o ReadOptions) (*syncBuffer, func() error) {
	var b syncBuffer
	result := make(chan error, 1)
	o.Follow = true
	go func() { result <- Read(ctx, path, o, &b) }()
	return &b, func() error { return <-result }
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestFollowIsWokenByTheWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "0.log")
		w := create(t, path, Options{MaxBytes: 60, MaxFiles: 2})
		s := w.Stream("stdout")
		write(t, s, "old\n", "new\n")
		done := make(chan struct{})
		got, wait := follow(t.Context(), path, ReadOptions{Done: done, Tail: tail(1)})
		want := "new\n"
		for i := range 20 {
			synctest.Wait()
			if got.String() != want {
				t.Fatalf("after %d writes: %q, want %q", i, got, want)
			}
			write(t, s, fmt.Sprintln(i))
			want += fmt.Sprintln(i)
		}
		if now := time.Now(); now.Unix() != 946684800 {
			t.Errorf("a timer was needed: it is %s", now)
		}
		write(t, s, "last")
		if err := errors.Join(s.Close(), w.Close()); err != nil {
			t.Fatal(err)
		}
		close(done)
		if err := wait(); err != nil {
			t.Fatal(err)
		}
		if got.String() != want+"last\n" {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestFollowAnotherProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "0.log")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		ctx, cancel := context.WithCancelCause(t.Context())
		got, wait := follow(ctx, path, ReadOptions{})
		for _, half := range []string{"2026-01-01T00:00:00Z std", "out F one\n2026-01-01T00:00:00Z stdout F two\n"} {
			write(t, f, half)
			<-time.After(pollInterval)
			synctest.Wait()
		}
		if got.String() != "one\ntwo\n" {
			t.Errorf("got %q", got)
		}
		gone := errors.New("client gone")
		cancel(gone)
		if err := wait(); err != gone {
			t.Errorf("got %v, want the cause", err)
		}
	})
}

// A follower sees every line once and in order, however often the file is rotated meanwhile.
func TestFollowUnderLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	w := create(t, path, Options{MaxBytes: 2000, MaxFiles: 1000})
	done := make(chan struct{})
	got, wait := follow(t.Context(), path, ReadOptions{Done: done})
	var writers sync.WaitGroup
	for _, name := range []string{"stdout", "stderr"} {
		writers.Go(func() {
			s := w.Stream(name)
			defer s.Close()
			for i := range 2000 {
				fmt.Fprintln(s, name, i)
			}
		})
	}
	writers.Wait()
	close(done)
	if err := wait(); err != nil {
		t.Fatal(err)
	}
	next := map[string]int{}
	for line := range strings.Lines(got.String()) {
		var name string
		var i int
		if _, err := fmt.Sscan(line, &name, &i); err != nil || next[name] != i {
			t.Fatalf("line %q where %d was to come: %v", line, next[name], err)
		}
		next[name]++
	}
	if next["stdout"] != 2000 || next["stderr"] != 2000 {
		t.Errorf("lines: %v", next)
	}
}

func FuzzParse(f *testing.F) {
	for _, line := range []string{
		"2026-01-01T00:00:00.000000000Z stdout F text", "2026-01-01T00:00:00+01:00 stderr P:x:y ", "2026-01-01T00:00:00Z stdout F", "", " ", "x y z",
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := parse(line)
		if err != nil || bytes.IndexByte(line, '\n') >= 0 {
			return
		}
		again, err := parse(bytes.TrimSuffix(appendRecord(nil, r.time, r.stream, r.whole, r.text), []byte{'\n'}))
		if err != nil || !again.time.Equal(r.time) || again.stream != r.stream || again.whole != r.whole || !bytes.Equal(again.text, r.text) {
			t.Fatalf("%+v became %+v: %v", r, again, err)
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	w, err := Create(filepath.Join(b.TempDir(), "0.log"), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	s := w.Stream("stdout")
	line := []byte(strings.Repeat("x", 99) + "\n")
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Write(line); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	path := filepath.Join(b.TempDir(), "0.log")
	w, err := Create(path, Options{MaxBytes: 1 << 30})
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	s := w.Stream("stdout")
	for range 10_000 {
		if _, err := io.WriteString(s, strings.Repeat("x", 99)+"\n"); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(1e6)
	b.ReportAllocs()
	for b.Loop() {
		if err := Read(b.Context(), path, ReadOptions{Tail: tail(9_000)}, io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}
