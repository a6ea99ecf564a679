package wasip1

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// needSymlinks skips where an ordinary user may not make symbolic links.
func needSymlinks(t *testing.T) {
	t.Helper()
	if err := os.Symlink("x", filepath.Join(t.TempDir(), "y")); err != nil {
		t.Skip("no symbolic links here: ", err)
	}
}

// TestEscapes tries to reach a file beside the mount, in every way that names one.
func TestEscapes(t *testing.T) {
	needSymlinks(t)
	outer := t.TempDir()
	dir := filepath.Join(outer, "mount")
	for _, d := range []string{dir, filepath.Join(dir, "sub"), filepath.Join(outer, "other")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	secret := filepath.Join(outer, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	links := map[string]string{
		"up": "..", "absolute": outer, "file": "../secret", "deep": "sub/../../secret", "chain": "up/secret",
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	c := newCaller(t, Config{Mounts: []Mount{{Host: dir, Guest: "/"}}})
	c.create("mine", "mine")
	paths := []string{
		"../secret", "/secret", secret, "sub/../../secret", "./../secret", "..//secret", "up/secret", "absolute/secret",
		"file", "deep", "chain", "sub/../up/secret", "up/mount/../secret", "../mount/../secret", "..", "../", "up/", "absolute/",
	}
	for _, path := range paths {
		t.Run(strings.ReplaceAll(path, "/", "|"), func(t *testing.T) {
			c := &caller{t: t, ctx: c.ctx, sys: c.sys, mod: c.mod, top: 16}
			check := func(what string, e errno) {
				t.Helper()
				if e == success {
					t.Errorf("%s succeeded", what)
				}
			}
			for _, oflags := range []uint32{0, oflagDirectory, oflagCreate, oflagCreate | oflagExclusive, oflagTruncate} {
				_, e := c.openat(3, path, oflags, 0)
				check(fmt.Sprint("open with ", oflags), e)
				_, e = c.openat(3, path, oflags, 0, rightRead)
				check(fmt.Sprint("open for reading with ", oflags), e)
			}
			_, e := c.stat(path, true)
			check("stat", e)
			ptr, n := c.str(path)
			check("set times", c.call("path_filestat_set_times", 3, followSymlink, ptr, n, 0, 0, setAtimNow|setMtimNow))
			check("mkdir below", c.pathCall("path_create_directory", strings.TrimSuffix(path, "/")+"/new"))
			check("create below", func() errno { _, e := c.openat(3, strings.TrimSuffix(path, "/")+"/new", oflagCreate, 0); return e }())
			check("symlink below", c.symlink("x", strings.TrimSuffix(path, "/")+"/new"))
			check("link below", c.link(0, "mine", strings.TrimSuffix(path, "/")+"/new"))
			check("rename below", c.rename("mine", strings.TrimSuffix(path, "/")+"/new"))
			if !strings.HasPrefix(path, "file") && path != "deep" && path != "chain" {
				check("rename from", c.rename(path, "taken"))
				check("link from", c.link(0, path, "taken"))
				check("unlink", c.pathCall("path_unlink_file", path))
				check("rmdir", c.pathCall("path_remove_directory", path))
			}
		})
	}
	if got := onHost(t, secret); got != "secret" {
		t.Errorf("the secret is now %q", got)
	}
	entries, err := os.ReadDir(outer)
	if err != nil || len(entries) != 3 {
		t.Errorf("beside the mount: %v, %v", entries, err)
	}
}

// TestEscapeThroughDescriptor tries .. from a directory that was opened, also after it was moved.
func TestEscapeThroughDescriptor(t *testing.T) {
	c, _ := inDir(t)
	c.must("path_create_directory", append([]uint64{3}, pair(c.str("a"))...)...)
	c.must("path_create_directory", append([]uint64{3}, pair(c.str("a/b"))...)...)
	c.create("a/file", "x")
	fd := c.open("a/b", oflagDirectory)
	if _, e := c.openat(fd, "../file", 0, 0); e != enotcapable {
		t.Errorf("..: errno %d", e)
	}
	if e := c.rename("a/b", "b"); e != success {
		t.Fatal(e)
	}
	if _, e := c.openat(fd, "../a/file", 0, 0); e != enotcapable {
		t.Errorf(".. after a rename: errno %d", e)
	}
	if _, e := c.openat(fd, "new", oflagCreate, 0); e != success {
		t.Errorf("create in a moved directory: errno %d", e)
	}
}

func pair(a, b uint64) []uint64 { return []uint64{a, b} }

func TestPathsAreResolved(t *testing.T) {
	c, _ := inDir(t)
	for _, dir := range []string{"dir", "dir/nested"} {
		if e := c.pathCall("path_create_directory", dir); e != success {
			t.Fatal(e)
		}
	}
	c.create("dir/nested/file", "")
	tests := []struct {
		path string
		want errno
	}{
		{"dir/.//nested/../../dir/nested/../nested///./file", success},
		{"/dir/nested/file", enotcapable},
		{"dir/nested/../../../mount/dir/nested/file", enotcapable},
		{"dir/nested/file/", enotdir},
		{"dir/nested/file///", enotdir},
		{"dir/nested/", success},
		{"dir/nested///", success},
		{".", success},
		{"", enoent},
		{"missing", enoent},
		{"missing/file", enoent},
		{"dir/nested/file/below", enotdir},
		{"dir/nested/file\x00", einval},
		{strings.Repeat("x", maxPath+1), enametoolong},
		{strings.Repeat("x", 300), enametoolong},
	}
	for _, test := range tests {
		if _, e := c.openat(3, test.path, 0, 0, 0); e != test.want {
			t.Errorf("open %.40q: errno %d, want %d", test.path, e, test.want)
		}
		c.free()
	}
}

func TestOpenFlags(t *testing.T) {
	c, _ := inDir(t)
	c.create("file", "content")
	if e := c.pathCall("path_create_directory", "dir"); e != success {
		t.Fatal(e)
	}
	tests := []struct {
		name   string
		path   string
		oflags uint32
		flags  fdflags
		ask    rights
		want   errno
	}{
		{"missing", "nothing", 0, 0, fileRights, enoent},
		{"create existing", "file", oflagCreate, 0, fileRights, success},
		{"create exclusively", "file", oflagCreate | oflagExclusive, 0, fileRights, eexist},
		{"a file as a directory", "file", oflagDirectory, 0, rightRead, enotdir},
		{"a directory", "dir", oflagDirectory, 0, dirRights, success},
		{"a directory, not said", "dir", 0, 0, dirRights | rightRead, success},
		{"a directory to read", "dir", oflagDirectory, 0, rightRead, success},
		{"a directory to write", "dir", oflagDirectory, 0, rightRead | rightWrite, eisdir},
		{"a directory to write, not said", "dir", 0, 0, rightRead | rightWrite, eisdir},
		{"create a directory", "new", oflagDirectory | oflagCreate, 0, 0, einval},
		{"truncate a directory", "dir", oflagTruncate, 0, 0, eisdir},
		{"unknown oflags", "file", 1 << 4, 0, 0, einval},
		{"unknown fdflags", "file", 0, 1 << 5, 0, einval},
		{"non-blocking", "file", 0, flagNonblock, rightRead, success},
		{"synchronous", "file", 0, flagSync | flagDsync | flagRsync, fileRights, success},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c.t = t
			fd, e := c.openat(3, test.path, test.oflags, test.flags, test.ask)
			if e != test.want {
				t.Fatalf("errno %d, want %d", e, test.want)
			}
			if e == success {
				stat := c.alloc(24)
				c.must("fd_fdstat_get", fd, stat)
				if got := fdflags(c.u32(stat) >> 16); got != test.flags {
					t.Errorf("flags %b, want %b", got, test.flags)
				}
				c.must("fd_close", fd)
			}
			c.free()
		})
	}
}

func TestReadOnlyMount(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"file": "content", "other": "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "dir"), 0o700); err != nil {
		t.Fatal(err)
	}
	c := newCaller(t, Config{Mounts: []Mount{{Host: dir, Guest: "/ro", ReadOnly: true}}})
	fd := c.open("file", 0, fileRights&^(rightWrite|rightAllocate)) // as Go's O_RDONLY asks
	if got, e := c.read(fd, 20); e != success || got != "content" {
		t.Errorf("read %q, errno %d", got, e)
	}
	open := func(path string, oflags uint32, ask rights) errno {
		_, e := c.openat(3, path, oflags, 0, ask)
		return e
	}
	file, n := c.str("file")
	sub := c.open("dir", oflagDirectory)
	subOpen := func() errno { _, e := c.openat(sub, "new", oflagCreate, 0); return e }
	for what, got := range map[string][2]errno{
		"write":              {open("file", 0, rightWrite), erofs},
		"truncate":           {open("file", oflagTruncate, rightRead), erofs},
		"create":             {open("new", oflagCreate, rightRead), erofs},
		"create existing":    {open("file", oflagCreate, rightRead), success},
		"create exclusively": {open("file", oflagCreate|oflagExclusive, rightRead), eexist},
		"create below":       {subOpen(), erofs},
		"mkdir":              {c.pathCall("path_create_directory", "new"), erofs},
		"mkdir existing":     {c.pathCall("path_create_directory", "dir"), eexist},
		"rmdir":              {c.pathCall("path_remove_directory", "dir"), erofs},
		"unlink":             {c.pathCall("path_unlink_file", "file"), erofs},
		"rename":             {c.rename("file", "new"), erofs},
		"link":               {c.link(0, "file", "new"), erofs},
		"symlink":            {c.symlink("file", "new"), erofs},
		"times":              {c.call("path_filestat_set_times", 3, 1, file, n, 0, 0, setMtimNow), erofs},
		"times of itself":    {c.call("fd_filestat_set_times", 3, 0, 0, setMtimNow), erofs},
		"size":               {c.call("fd_filestat_set_size", fd, 0), einval},
		"times of a file":    {c.call("fd_filestat_set_times", fd, 0, 0, setMtimNow), erofs},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: errno %d, want %d", what, got[0], got[1])
		}
	}
	if got := onHost(t, dir, "file"); got != "content" {
		t.Errorf("file is now %q", got)
	}
}

func TestRename(t *testing.T) {
	tests := []struct {
		name, from, to string
		want           errno
	}{
		{"file to a new name", "file", "new", success},
		{"file over a file", "file", "file2", success},
		{"file to itself", "file", "file", success},
		{"file over a directory", "file", "empty", eisdir},
		{"directory to a new name", "full", "new", success},
		{"directory with a slash", "full/", "new/", success},
		{"directory over an empty one", "full", "empty", success},
		{"directory over a full one", "empty", "full", enotempty},
		{"directory over a file", "empty", "file", enotdir},
		{"file with a slash", "file/", "new", enotdir},
		{"file to a name with a slash", "file", "new/", enotdir},
		{"missing", "missing", "new", enoent},
		{"to a missing directory", "file", "missing/new", enoent},
		{"directory into itself", "full", "full/below", einval},
		{"the mount", ".", "new", einval},
		{"over the mount", "full", ".", einval},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, dir := inDir(t)
			for _, d := range []string{"empty", "full"} {
				if e := c.pathCall("path_create_directory", d); e != success {
					t.Fatal(e)
				}
			}
			for _, f := range []string{"file", "file2", "full/inside"} {
				c.create(f, f)
			}
			if e := c.rename(test.from, test.to); e != test.want {
				t.Fatalf("errno %d, want %d", e, test.want)
			}
			_, gone := os.Lstat(filepath.Join(dir, test.from))
			_, there := os.Lstat(filepath.Join(dir, test.to))
			if test.want == success && test.from != test.to && (gone == nil || there != nil) {
				t.Errorf("old: %v, new: %v", gone, there)
			}
		})
	}
}

// TestTwoDirectories renames and links between directories that were opened one by one.
func TestTwoDirectories(t *testing.T) {
	other := t.TempDir()
	dir := t.TempDir()
	c := newCaller(t, Config{Mounts: []Mount{{Host: dir, Guest: "/"}, {Host: other, Guest: "/other"}}})
	for _, d := range []string{"a", "b"} {
		if e := c.pathCall("path_create_directory", d); e != success {
			t.Fatal(e)
		}
	}
	c.create("a/file", "x")
	a, b := c.open("a", oflagDirectory), c.open("b", oflagDirectory)
	file, n := c.str("file")
	c.must("path_link", a, 0, file, n, b, file, n)
	c.want(enotcapable, "path_rename", append([]uint64{a, file, n, b}, pair(c.str("../x"))...)...)
	c.must("path_rename", a, file, n, b, file, n)
	c.want(exdev, "path_rename", b, file, n, 4, file, n)
	c.want(exdev, "path_link", b, 0, file, n, 4, file, n)
	if e := c.rename("a", "c"); e != success {
		t.Fatal(e)
	}
	c.want(exdev, "path_rename", b, file, n, a, file, n) // a is no longer where it was opened
	if got := onHost(t, dir, "b", "file"); got != "x" {
		t.Errorf("b/file is %q", got)
	}
}

func TestRemove(t *testing.T) {
	c, _ := inDir(t)
	for _, d := range []string{"empty", "full", "slash"} {
		if e := c.pathCall("path_create_directory", d); e != success {
			t.Fatal(e)
		}
	}
	c.create("file", "")
	c.create("full/inside", "")
	tests := []struct {
		function, path string
		want           errno
	}{
		{"path_remove_directory", "full", enotempty},
		{"path_remove_directory", "file", enotdir},
		{"path_remove_directory", "file/", enotdir},
		{"path_remove_directory", "missing", enoent},
		{"path_remove_directory", ".", einval},
		{"path_remove_directory", "full/..", einval},
		{"path_unlink_file", "empty", eisdir},
		{"path_unlink_file", "empty/", eisdir},
		{"path_unlink_file", "file/", enotdir},
		{"path_unlink_file", "missing", enoent},
		{"path_remove_directory", "empty", success},
		{"path_remove_directory", "slash/", success},
		{"path_unlink_file", "file", success},
		{"path_unlink_file", "file", enoent},
	}
	for _, test := range tests {
		if e := c.pathCall(test.function, test.path); e != test.want {
			t.Errorf("%s %s: errno %d, want %d", test.function, test.path, e, test.want)
		}
	}
}

func TestSymlinks(t *testing.T) {
	needSymlinks(t)
	c, _ := inDir(t)
	if e := c.pathCall("path_create_directory", "dir"); e != success {
		t.Fatal(e)
	}
	c.create("file", "content")
	for _, test := range []struct {
		target, path string
		want         errno
	}{
		{"file", "link", success},
		{"dir", "dirlink", success},
		{"loop", "loop", success},
		{"nowhere", "dangling", success},
		{"/file", "new", enotcapable},
		{"x", "file", eexist},
		{"x", "link", eexist},
		{"x", "dir/", eexist},
		{"x", "file/", enotdir},
		{"x", "new/", enoent},
		{"x", "missing/new", enoent},
		{"", "new", enoent},
	} {
		if e := c.symlink(test.target, test.path); e != test.want {
			t.Errorf("symlink %s -> %s: errno %d, want %d", test.path, test.target, e, test.want)
		}
	}

	nofollow := func(path string, oflags uint32) errno {
		ptr, n := c.str(path)
		return c.call("path_open", 3, 0, ptr, n, uint64(oflags), 0, 0, 0, c.alloc(4))
	}
	follow := func(path string, oflags uint32) errno { _, e := c.openat(3, path, oflags, 0, 0); return e }
	_, statDangling := c.stat("dangling", true)
	for what, got := range map[string][2]errno{
		"nofollow file":            {nofollow("link", 0), eloop},
		"nofollow directory":       {nofollow("dirlink", oflagDirectory), eloop},
		"follow file":              {follow("link", 0), success},
		"follow directory":         {follow("dirlink", oflagDirectory), success},
		"follow to no directory":   {follow("link", oflagDirectory), enotdir},
		"loop":                     {follow("loop", 0), eloop},
		"dangling":                 {follow("dangling", 0), enoent},
		"stat dangling":            {statDangling, enoent},
		"exclusive over a link":    {nofollow("dangling", oflagCreate|oflagExclusive), eexist},
		"rmdir of a link":          {c.pathCall("path_remove_directory", "dirlink"), enotdir},
		"rmdir of a link, slash":   {c.pathCall("path_remove_directory", "dirlink/"), enotdir},
		"hard link to a link":      {c.link(0, "dangling", "hard"), success},
		"hard link, following":     {c.link(followSymlink, "link", "hard2"), einval},
		"hard link over a link":    {c.link(0, "file", "dangling"), eexist},
		"hard link to a directory": {c.link(0, "dir", "hard3"), eperm},
		"hard link, slash":         {c.link(0, "file", "hard4/"), enoent},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: errno %d, want %d", what, got[0], got[1])
		}
	}
	if st, e := c.stat("link", false); e != success || st.kind != typeSymlink {
		t.Errorf("lstat: %+v, errno %d", st, e)
	}
	if st, e := c.stat("link", true); e != success || st.kind != typeRegular || st.size != 7 {
		t.Errorf("stat: %+v, errno %d", st, e)
	}

	path, n := c.str("link")
	buf, used := c.alloc(8), c.alloc(4)
	c.must("path_readlink", 3, path, n, buf, 8, used)
	if got := string(c.bytes(buf, int(c.u32(used)))); got != "file" {
		t.Errorf("readlink %q", got)
	}
	c.must("path_readlink", 3, path, n, buf, 2, used)
	if got := string(c.bytes(buf, int(c.u32(used)))); got != "fi" {
		t.Errorf("readlink into two bytes: %q", got)
	}
	file, n := c.str("file")
	c.want(einval, "path_readlink", 3, file, n, buf, 8, used)
}

// TestTimesOfLinks: without following, the times are those of the link itself.
func TestTimesOfLinks(t *testing.T) {
	needSymlinks(t)
	c, _ := inDir(t)
	c.create("file", "")
	if e := c.symlink("file", "link"); e != success {
		t.Fatal(e)
	}
	file, _ := c.stat("file", false)
	link, _ := c.stat("link", false)
	path, n := c.str("link")
	c.must("path_filestat_set_times", 3, 0, path, n, 0, link.mtim-300, setMtim)
	if got, _ := c.stat("link", false); got.mtim != link.mtim-300 || got.atim != link.atim {
		t.Errorf("link: %+v, was %+v", got, link)
	}
	if got, _ := c.stat("link", true); got.mtim != file.mtim {
		t.Errorf("file: %+v, was %+v", got, file)
	}
	c.must("path_filestat_set_times", 3, followSymlink, path, n, 0, file.mtim-700, setMtim)
	if got, _ := c.stat("file", false); got.mtim != file.mtim-700 {
		t.Errorf("file: %+v, was %+v", got, file)
	}
}

// TestRaces moves directories and links on the host while a guest names what is below them: whatever the order, it
// never gets at what lies beside its mount.
func TestRaces(t *testing.T) {
	needSymlinks(t)
	outer := t.TempDir()
	dir := filepath.Join(outer, "mount")
	for _, d := range []string{dir, filepath.Join(dir, "a"), filepath.Join(dir, "a", "b"), filepath.Join(outer, "b")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for path, content := range map[string]string{
		filepath.Join(outer, "file"): "secret", filepath.Join(outer, "b", "file"): "secret", filepath.Join(dir, "a", "b", "file"): "mine",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("..", filepath.Join(dir, "up")); err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() { // exchanges mount/a for a link that leads out, and takes mount/a/b out of a and back
		defer close(stopped)
		at := func(name string) string { return filepath.Join(dir, name) }
		for {
			select {
			case <-stop:
				return
			default:
			}
			_ = os.Rename(at("a"), at("c")) // each may lose against the guest
			_ = os.Rename(at("up"), at("a"))
			_ = os.Rename(at("a"), at("up"))
			_ = os.Rename(at("c"), at("a"))
			_ = os.Rename(at("a/b"), at("d"))
			_ = os.Rename(at("d"), at("a/b"))
		}
	}()
	c := newCaller(t, Config{Mounts: []Mount{{Host: dir, Guest: "/"}}})
	for i := range 3000 {
		c.free()
		for _, path := range []string{"a/b/file", "a/file", "a/b/../../file", "a/b/../file"} {
			fd, e := c.openat(3, path, oflagCreate*uint32(i%2), 0)
			if e != success {
				continue
			}
			if got, e := c.read(fd, 20); e != success || got == "secret" {
				t.Fatalf("%s: read %q, errno %d", path, got, e)
			}
			c.write(fd, "")
			c.must("fd_close", fd)
		}
		_ = c.pathCall("path_create_directory", "a/new")
		_ = c.rename("a/new", "a/b/new")
		_ = c.pathCall("path_remove_directory", "a/b/new")
		_ = c.pathCall("path_remove_directory", "a/new")
	}
	close(stop)
	<-stopped
	for _, path := range []string{"file", "b/file"} {
		if got := onHost(t, outer, path); got != "secret" {
			t.Errorf("%s is now %q", path, got)
		}
	}
	entries, err := os.ReadDir(outer)
	if err != nil || len(entries) != 3 {
		t.Errorf("beside the mount: %v, %v", entries, err)
	}
}

func TestSingleFileMounts(t *testing.T) {
	host := t.TempDir()
	for name, content := range map[string]string{"one": "1", "two": "2", "beside": "not mounted"} {
		if err := os.WriteFile(filepath.Join(host, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	over := t.TempDir()
	if err := os.WriteFile(filepath.Join(over, "hidden"), []byte("below"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newCaller(t, Config{Mounts: []Mount{
		{Host: filepath.Join(host, "one"), Guest: "/etc/app/first.conf", ReadOnly: true},
		{Host: filepath.Join(host, "two"), Guest: "/etc/app/second.conf"},
		{Host: over, Guest: "/over"},
		{Host: filepath.Join(host, "one"), Guest: "/over/hidden"},
	}})
	if got := preopens(c); fmt.Sprint(got) != "[/etc/app /over]" {
		t.Fatalf("preopened %v", got)
	}
	if got := names(c, 3, 4096); fmt.Sprint(got) != "[. .. first.conf second.conf]" {
		t.Errorf("listed %v", got)
	}
	if got := names(c, 4, 4096); fmt.Sprint(got) != "[. .. hidden]" {
		t.Errorf("listed %v", got)
	}
	fd := c.open("./x/../first.conf", 0, rightRead)
	if got, _ := c.read(fd, 10); got != "1" {
		t.Errorf("read %q", got)
	}
	if fd, e := c.openat(4, "hidden", 0, 0, rightRead); e != success {
		t.Errorf("errno %d", e)
	} else if got, _ := c.read(fd, 10); got != "1" {
		t.Errorf("read %q", got)
	}
	c.create("second.conf", "changed")
	if got := onHost(t, host, "two"); got != "changed" {
		t.Errorf("two is %q", got)
	}
	open := func(path string, oflags uint32, ask rights) errno {
		_, e := c.openat(3, path, oflags, 0, ask)
		return e
	}
	_, statSelf := c.stat(".", true)
	for what, got := range map[string][2]errno{
		"itself":           {open(".", oflagDirectory, 0), success},
		"stat itself":      {statSelf, success},
		"beside on host":   {open("beside", 0, rightRead), enoent},
		"parent":           {open("../one", 0, rightRead), enotcapable},
		"create":           {open("new", oflagCreate, rightWrite), enoent},
		"write read-only":  {open("first.conf", 0, rightWrite), erofs},
		"as a directory":   {open("first.conf", oflagDirectory, 0), enotdir},
		"with a slash":     {open("first.conf/", 0, rightRead), enotdir},
		"unlink":           {c.pathCall("path_unlink_file", "second.conf"), ebusy},
		"rename":           {c.rename("second.conf", "first.conf"), ebusy},
		"mkdir":            {c.pathCall("path_create_directory", "second.conf"), eexist},
		"times of its dir": {c.call("fd_filestat_set_times", 3, 0, 0, setMtimNow), erofs},
		"sync of its dir":  {c.call("fd_sync", 3), success},
		"rmdir of its dir": {c.pathCall("path_remove_directory", "."), erofs},
		"rename to new":    {c.rename("second.conf", "third.conf"), enoent},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: errno %d, want %d", what, got[0], got[1])
		}
	}
}

// preopens lists preopened directories as guests do.
func preopens(c *caller) []string {
	var paths []string
	for fd := uint64(3); ; fd++ {
		c.free()
		stat := c.alloc(8)
		if c.call("fd_prestat_get", fd, stat) != success {
			return paths
		}
		n := int(c.u32(stat + 4))
		name := c.alloc(n)
		c.want(enametoolong, "fd_prestat_dir_name", fd, name, uint64(n-1))
		c.must("fd_prestat_dir_name", fd, name, uint64(n))
		paths = append(paths, string(c.bytes(name, n)))
	}
}

func TestMountsAreChecked(t *testing.T) {
	dir := t.TempDir()
	for _, mounts := range [][]Mount{
		{{Host: filepath.Join(dir, "missing"), Guest: "/"}},
		{{Host: dir, Guest: "/a"}, {Host: dir, Guest: "/a/"}},
	} {
		if s, err := New(Config{Mounts: mounts}); err == nil {
			t.Errorf("%v: accepted", mounts)
			s.Close()
		}
	}
}

func TestSpecialFilesAreRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no device files")
	}
	c := newCaller(t, Config{Mounts: []Mount{{Host: "/dev", Guest: "/dev"}}})
	if _, e := c.openat(3, "zero", 0, 0, rightRead); e != enotsup {
		t.Errorf("errno %d", e)
	}
}
