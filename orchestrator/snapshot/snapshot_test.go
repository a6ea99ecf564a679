package snapshot_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"wherry/orchestrator/snapshot"
)

// plane is a data directory with something of everything.
var plane = map[string]string{
	"pki/ca.key":                 "secret",
	"registry/registry.db":       "the live index",
	"registry/blobs/sha256/ab/a": "module",
	"agent/journal.db":           "of a node",
	"admin.kubeconfig":           "made anew",
}

func source(t *testing.T) snapshot.Source {
	t.Helper()
	dir := t.TempDir()
	for name, content := range plane {
		write(t, filepath.Join(dir, name), content)
	}
	return snapshot.Source{
		Dir: dir, Cluster: "c1", Version: "v1",
		State: func(_ context.Context, path string) (uint64, error) {
			return 42, os.WriteFile(path, []byte("objects"), 0o600)
		},
		Registry: func(path string) error { return os.WriteFile(path, []byte("the index"), 0o600) },
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
		t.Fatal(err)
	}
}

func archive(t *testing.T, s snapshot.Source, images bool) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := s.Write(t.Context(), &b, t.TempDir(), images); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, p))
		all[p] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestRestoreIntoANewDirectory(t *testing.T) {
	for _, test := range []struct {
		images bool
		want   map[string]string
	}{
		{true, map[string]string{"state.db": "objects", "pki/ca.key": "secret", "registry/registry.db": "the index", "registry/blobs/sha256/ab/a": "module"}},
		{false, map[string]string{"state.db": "objects", "pki/ca.key": "secret"}},
	} {
		file := filepath.Join(t.TempDir(), "s")
		write(t, file, string(archive(t, source(t), test.images)))
		dir := filepath.Join(t.TempDir(), "new", "data")
		m, err := snapshot.Restore(file, dir, func(state string) error {
			if data, err := os.ReadFile(state); err != nil || string(data) != "objects" {
				t.Errorf("the state to be checked is %q, %v", data, err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, tree(t, dir)); diff != "" {
			t.Error(diff)
		}
		if m.Cluster != "c1" || m.Revision != 42 || m.Version != "v1" {
			t.Errorf("the manifest says %+v", m)
		}
	}
}

// What a restore replaces is kept, and what does not belong to the control plane is left alone.
func TestRestoreInPlace(t *testing.T) {
	s := source(t)
	file := filepath.Join(t.TempDir(), "s")
	write(t, file, string(archive(t, s, false)))
	write(t, filepath.Join(s.Dir, "state.db"), "lost")
	write(t, filepath.Join(s.Dir, "pki/later.key"), "later")
	if _, err := snapshot.Restore(file, s.Dir, func(string) error { return nil }); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for name, content := range tree(t, s.Dir) {
		if rest, ok := strings.CutPrefix(name, "replaced-"); ok {
			_, rest, _ = strings.Cut(rest, "/")
			name = "replaced/" + rest
		}
		got[name] = content
	}
	want := map[string]string{
		"state.db": "objects", "pki/ca.key": "secret",
		"replaced/state.db": "lost", "replaced/pki/ca.key": "secret", "replaced/pki/later.key": "later",
		"registry/registry.db": "the live index", "registry/blobs/sha256/ab/a": "module",
		"agent/journal.db": "of a node", "admin.kubeconfig": "made anew",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestNothingChangesWhenARestoreFails(t *testing.T) {
	s := source(t)
	whole := archive(t, s, true)
	bad := errors.New("no store")
	for _, test := range []struct {
		name  string
		data  []byte
		ready error
		want  error
	}{
		{"cut off", whole[:len(whole)/2], nil, snapshot.ErrDamaged},
		{"without its last byte", whole[:len(whole)-1], nil, snapshot.ErrDamaged},
		{"a byte turned", flip(whole), nil, snapshot.ErrDamaged},
		{"empty", nil, nil, snapshot.ErrDamaged},
		{"text", []byte("This is text."), nil, snapshot.ErrDamaged},
		{"the state is refused", whole, bad, bad},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "s")
			write(t, file, string(test.data))
			before := tree(t, s.Dir)
			_, err := snapshot.Restore(file, s.Dir, func(string) error { return test.ready })
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if diff := cmp.Diff(before, tree(t, s.Dir)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func flip(data []byte) []byte {
	data = slices.Clone(data)
	data[len(data)/3] ^= 0x10
	return data
}

// Archives that are made to do harm, or that do not agree with their manifest.
func TestWhatASnapshotMayHold(t *testing.T) {
	for _, test := range []struct {
		name    string
		members []tar.Header
		files   []snapshot.File
	}{
		{"a way out", []tar.Header{{Name: "pki/../../evil"}}, nil},
		{"an absolute name", []tar.Header{{Name: "/etc/passwd"}}, nil},
		{"a link", []tar.Header{{Name: "pki/link", Typeflag: tar.TypeSymlink, Linkname: "/"}}, nil},
		{"something else", []tar.Header{{Name: "agent/journal.db"}}, nil},
		{"a file for a folder", []tar.Header{{Name: "pki"}}, nil},
		{"the same twice", []tar.Header{{Name: "state.db"}, {Name: "state.db"}}, nil},
		{"unnamed", []tar.Header{{Name: "state.db"}}, nil},
		{"missing", nil, []snapshot.File{{Name: "state.db"}}},
		{"another sum", []tar.Header{{Name: "state.db"}}, []snapshot.File{{Name: "state.db", SHA256: strings.Repeat("0", 64)}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			data := forge(t, test.members, snapshot.Manifest{Format: 1, Files: test.files})
			if _, err := snapshot.Verify(bytes.NewReader(data)); !errors.Is(err, snapshot.ErrDamaged) {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := snapshot.Verify(bytes.NewReader(forge(t, nil, snapshot.Manifest{Format: 2}))); err == nil || errors.Is(err, snapshot.ErrDamaged) {
		t.Errorf("another format: %v", err)
	}
}

// forge writes empty members and a manifest.
func forge(t testing.TB, members []tar.Header, m snapshot.Manifest) []byte {
	t.Helper()
	var b bytes.Buffer
	zipped := gzip.NewWriter(&b)
	w := tar.NewWriter(zipped)
	data, err := json.Marshal(m)
	for _, h := range members {
		err = errors.Join(err, w.WriteHeader(&h))
	}
	err = errors.Join(err, w.WriteHeader(&tar.Header{Name: "manifest.json", Size: int64(len(data))}))
	_, writeErr := w.Write(data)
	if err := errors.Join(err, writeErr, w.Close(), zipped.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func FuzzVerify(f *testing.F) {
	f.Add(forge(f, []tar.Header{{Name: "state.db"}}, snapshot.Manifest{Format: 1}))
	f.Add([]byte{0x1f, 0x8b})
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := filepath.Join(t.TempDir(), "in")
		if _, err := snapshot.Extract(bytes.NewReader(data), dir); err == nil {
			return
		}
		if out, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(out) > 1 {
			t.Errorf("outside of the directory: %v, %v", out, err)
		}
	})
}

// A folder gets a snapshot whenever one is due, also over restarts, and keeps the newest.
func TestFolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, ".new-1"), "half")
		write(t, filepath.Join(dir, "readme.txt"), "not ours")
		f := &snapshot.Folder{Path: dir, Source: source(t), Every: time.Hour, Keep: 3, Log: slog.Default()}
		for _, test := range []struct {
			after time.Duration
			want  int
		}{{59 * time.Second, 0}, {time.Minute, 1}, {time.Hour, 2}, {5 * time.Hour, 3}} {
			run(t, f, test.after)
			all, err := f.List()
			if err != nil || len(all) != test.want {
				t.Fatalf("%s on there are %d (%v), want %d", test.after, len(all), err, test.want)
			}
		}
		all, _ := f.List()
		if age := time.Since(all[2].Created); age > time.Hour {
			t.Errorf("the newest is %s old", age)
		}
		got := tree(t, dir)
		if len(got) != 4 || got["readme.txt"] != "not ours" {
			t.Errorf("the folder has %d files", len(got))
		}
	})
}

// run runs a folder for some time and a moment.
func run(t *testing.T, f *snapshot.Folder, d time.Duration) {
	ctx, stop := context.WithTimeout(t.Context(), d+time.Millisecond)
	defer stop()
	if err := f.Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestHandler(t *testing.T) {
	f := &snapshot.Folder{Path: t.TempDir(), Source: source(t), Keep: 2, Log: slog.Default()}
	server := httptest.NewServer(f.Handler())
	defer server.Close()
	ask := func(method, path string) (int, []byte) {
		t.Helper()
		r := httptest.NewRequest(method, server.URL+path, nil)
		r.RequestURI = ""
		answer, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, body
	}
	if status, body := ask("GET", "/snapshots"); status != 200 || string(body) != "[]\n" {
		t.Errorf("at first: %d %s", status, body)
	}
	var e snapshot.Entry
	if status, body := ask("POST", "/snapshots"); status != 201 || json.Unmarshal(body, &e) != nil {
		t.Fatalf("made: %d %s", status, body)
	}
	var all []snapshot.Entry
	if _, body := ask("GET", "/snapshots"); json.Unmarshal(body, &all) != nil || !cmp.Equal(all, []snapshot.Entry{e}) {
		t.Errorf("listed: %s", body)
	}
	for path, files := range map[string]int{"/snapshots/" + e.Name: 2, "/snapshots/stream?images=false": 2, "/snapshots/stream": 4} {
		status, body := ask("GET", path)
		m, err := snapshot.Verify(bytes.NewReader(body))
		if status != 200 || err != nil || len(m.Files) != files {
			t.Errorf("%s: %d, %v, %d files", path, status, err, len(m.Files))
		}
	}
	for path, want := range map[string]int{
		"/snapshots/wherry-20000101T000000Z-1.snapshot": 404, "/snapshots/..%2fstate.db": 404, "/snapshots/stream?images=some": 400,
	} {
		if status, body := ask("GET", path); status != want {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	f.Source.State = func(context.Context, string) (uint64, error) { return 0, fmt.Errorf("disk full") }
	if status, body := ask("POST", "/snapshots"); status != 500 || !strings.Contains(string(body), "disk full") {
		t.Errorf("a failure: %d %s", status, body)
	}
	if left := tree(t, f.Path); len(left) != 1 {
		t.Errorf("a failure leaves %d files", len(left)-1)
	}
}
