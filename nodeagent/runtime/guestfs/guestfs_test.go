package guestfs

import (
	archive "archive/tar"
	"bytes"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"wherry/nodeagent/runtime"
)

// world is a container with a volume at /data, one in it at /data/deep/own, a read-only one at /etc/config and a single
// file at /run/message. Outside lies a file that nobody may reach.
type world struct {
	t                         *testing.T
	data, deep, config, other string
	fs                        *FS
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, data: t.TempDir(), deep: t.TempDir(), config: t.TempDir(), other: t.TempDir()}
	w.write(w.data, "a.txt", "of a")
	w.write(w.data, "sub/b.txt", "of b")
	w.write(w.deep, "own.txt", "of deep")
	w.write(w.config, "key", "value")
	w.write(w.other, "message", "")
	w.write(w.other, "secret", "secret")
	var err error
	w.fs, err = Open([]runtime.Mount{
		{Host: w.data, Guest: "/data"},
		{Host: w.deep, Guest: "/data/deep/own"},
		{Host: w.config, Guest: "/etc/config", ReadOnly: true},
		{Host: filepath.Join(w.other, "message"), Guest: "/run/message"},
	}, "/data")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.fs.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) write(dir, name, text string) {
	w.t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) read(dir, name string) string {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func (w *world) run(stdin []byte, command ...string) (code int, out []byte, warnings string) {
	w.t.Helper()
	var stdout, stderr bytes.Buffer
	code = w.fs.Run(w.t.Context(), command, Streams{bytes.NewReader(stdin), &stdout, &stderr})
	return code, stdout.Bytes(), stderr.String()
}

// members are the names in an archive, with the content of files and links.
func members(t *testing.T, b []byte) map[string]string {
	t.Helper()
	all := map[string]string{}
	r := archive.NewReader(bytes.NewReader(b))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		all[h.Name] = string(content) + h.Linkname
	}
}

func pack(t *testing.T, headers ...archive.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := archive.NewWriter(&b)
	for _, h := range headers {
		content := h.Uname // of files
		h.Uname, h.Size = "", int64(len(content))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func file(name, content string) archive.Header {
	return archive.Header{Typeflag: archive.TypeReg, Name: name, Mode: 0o777, Uname: content}
}

func TestCreate(t *testing.T) {
	w := newWorld(t)
	if err := os.Symlink(filepath.Join(w.other, "secret"), filepath.Join(w.data, "out")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(w.other, filepath.Join(w.data, "folder")); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		path string
		code int
		want []string
	}{
		"a file":           {"/data/a.txt", 0, []string{"data/a.txt=of a"}},
		"relative":         {"sub/b.txt", 0, []string{"sub/b.txt=of b"}},
		"a folder":         {"/data/sub", 0, []string{"data/sub/=", "data/sub/b.txt=of b"}},
		"a mount in it":    {"/data/deep", 0, []string{"data/deep/=", "data/deep/own/=", "data/deep/own/own.txt=of deep"}},
		"a single file":    {"/run/message", 0, []string{"run/message="}},
		"a read-only file": {"/etc/config/key", 0, []string{"etc/config/key=value"}},
		"a link is a link": {"/data/out", 0, []string{"data/out=" + filepath.Join(w.other, "secret")}},
		"not through one":  {"/data/folder/secret", 2, nil},
		"not beside":       {"/run/secret", 2, nil},
		"not above":        {"/data/../../" + w.other + "/secret", 2, nil},
		"nothing":          {"/nowhere", 2, nil},
		"all":              {"/", 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, warnings := w.run(nil, "tar", "cf", "-", test.path)
			if code != test.code {
				t.Fatalf("code %d: %s", code, warnings)
			}
			var got []string
			all := members(t, out)
			for _, name := range slices.Sorted(maps.Keys(all)) {
				got = append(got, name+"="+all[name])
			}
			if name != "all" && !slices.Equal(got, test.want) {
				t.Errorf("got %q", got)
			}
			if strings.Contains(string(out), "=secret") || name == "all" && len(got) < 10 {
				t.Errorf("got %q", got)
			}
			if strings.Contains(warnings, w.data) {
				t.Errorf("it tells of the host: %s", warnings)
			}
		})
	}
}

func TestExtract(t *testing.T) {
	w := newWorld(t)
	if err := os.Symlink(w.other, filepath.Join(w.data, "out")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(w.other, "secret"), filepath.Join(w.data, "link")); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		header archive.Header
		into   string
		code   int
		text   string // of the complaint
	}{
		"a file":               {file("new/c.txt", "of c"), "/data", 0, ""},
		"over a file":          {file("a.txt", "new a"), "/data", 0, ""},
		"over a link":          {file("link", "mine"), "/data", 0, ""},
		"a folder":             {archive.Header{Typeflag: archive.TypeDir, Name: "dir/", Mode: 0o755}, "/data", 0, ""},
		"a single file":        {file("message", "last words"), "/run", 0, ""},
		"a mount in it":        {file("deep/own/d.txt", "of d"), "/data", 0, ""},
		"a link inside":        {archive.Header{Typeflag: archive.TypeSymlink, Name: "sub/in", Linkname: "../a.txt"}, "/data", 0, ""},
		"read-only":            {file("key", "evil"), "/etc/config", 2, "read-only file system"},
		"no volume":            {file("x", "x"), "/tmp", 2, "it is in no volume of the container"},
		"beside a single file": {file("secret", "evil"), "/run", 2, "it is in no volume of the container"},
		"dots":                 {file("../../x", "evil"), "/data", 2, "member name contains '..'"},
		"absolute":             {file("/a.txt", "newer a"), "/data", 0, ""},
		"through a link":       {file("out/secret", "evil"), "/data", 2, "Cannot write"},
		"a link out":           {archive.Header{Typeflag: archive.TypeSymlink, Name: "up", Linkname: "../x"}, "/data", 2, "leads out of the volume"},
		"an absolute link":     {archive.Header{Typeflag: archive.TypeSymlink, Name: "abs", Linkname: "/data/a.txt"}, "/data", 2, "leads out of the volume"},
		"a device":             {archive.Header{Typeflag: archive.TypeChar, Name: "null"}, "/data", 2, "are not supported"},
		"over a mount":         {file("own", "evil"), "/data/deep", 2, "it is where a volume is mounted"},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, warnings := w.run(pack(t, test.header), "tar", "--no-same-permissions", "--no-same-owner", "-xmf", "-", "-C", test.into)
			if code != test.code || !strings.Contains(warnings, test.text) {
				t.Errorf("code %d: %s", code, warnings)
			}
		})
	}
	for got, want := range map[string]string{
		w.read(w.data, "new/c.txt"): "of c", w.read(w.data, "link"): "mine", w.read(w.deep, "d.txt"): "of d",
		w.read(w.other, "message"): "last words", w.read(w.other, "secret"): "secret", w.read(w.config, "key"): "value",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	info, err := os.Stat(filepath.Join(w.data, "new/c.txt"))
	if err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestFlags(t *testing.T) {
	w := newWorld(t)
	for name, test := range map[string]struct {
		command []string
		code    int
	}{
		"a directory":            {[]string{"test", "-d", "/data"}, 0},
		"on the way to a volume": {[]string{"test", "-d", "/etc"}, 0},
		"a file is none":         {[]string{"test", "-d", "/data/a.txt"}, 1},
		"no directory":           {[]string{"test", "-d", "/nowhere"}, 1},
		"a file":                 {[]string{"test", "-f", "a.txt"}, 0},
		"it is there":            {[]string{"test", "-e", "/run/message"}, 0},
		"another test":           {[]string{"test", "-x", "/data"}, 2},
		"no test":                {[]string{"test"}, 2},
		"nothing to do":          {[]string{"tar"}, 2},
		"both":                   {[]string{"tar", "cxf", "-"}, 2},
		"into a file":            {[]string{"tar", "cf", "/data/x.tar", "/data"}, 2},
		"compressed":             {[]string{"tar", "czf", "-", "/data"}, 2},
		"no value":               {[]string{"tar", "xf"}, 2},
		"a long one":             {[]string{"tar", "--to-command=sh", "-xf", "-"}, 2},
		"no archive":             {[]string{"tar", "-xf", "-"}, 0},
	} {
		if code, _, warnings := w.run(nil, test.command...); code != test.code {
			t.Errorf("%s: code %d: %s", name, code, warnings)
		}
	}
	if code, _, warnings := w.run([]byte("no archive at all"), "tar", "xf", "-"); code != 2 {
		t.Errorf("code %d: %s", code, warnings)
	}
}

func TestReadFile(t *testing.T) {
	w := newWorld(t)
	if b, err := w.fs.ReadFile("a.txt", 4); err != nil || string(b) != "of a" {
		t.Errorf("%q, %v", b, err)
	}
	for _, name := range []string{"/data/sub/b.txt/..", "/data", "/nowhere", "sub/b.txt2"} {
		if _, err := w.fs.ReadFile(name, 4); err == nil {
			t.Errorf("%s was read", name)
		}
	}
	if _, err := w.fs.ReadFile("a.txt", 3); err == nil {
		t.Error("a file that is too large was read")
	}
}
