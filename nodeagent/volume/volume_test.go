package volume

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

type objects struct {
	configMaps map[string]*corev1.ConfigMap
	secrets    map[string]*corev1.Secret
	tokens     map[string]string // by audience
}

func (o objects) ConfigMap(_, name string) *corev1.ConfigMap { return o.configMaps[name] }
func (o objects) Secret(_, name string) *corev1.Secret       { return o.secrets[name] }

func (o objects) Token(uid, audience string, seconds int64) string {
	if uid != "uid-1" || seconds != 3607 {
		return ""
	}
	return o.tokens[audience]
}

func world() objects {
	return objects{
		map[string]*corev1.ConfigMap{"c": {Data: map[string]string{"a": "1", "b": "2"}, BinaryData: map[string][]byte{"raw": {0, 1}}}},
		map[string]*corev1.Secret{"s": {Data: map[string][]byte{"password": []byte("x")}}},
		map[string]string{"": "for the API", "vault": "for the vault"},
	}
}

func pod(t *testing.T, volumes string) *corev1.Pod {
	t.Helper()
	p := &corev1.Pod{}
	p.UID, p.Namespace, p.Name = "uid-1", "default", "web"
	p.Spec.ServiceAccountName = "bot"
	p.Labels = map[string]string{"app": "web", "b": "\"q\""}
	p.Annotations = map[string]string{"note": "hi"}
	if err := yaml.UnmarshalStrict([]byte(volumes), &p.Spec.Volumes); err != nil {
		t.Fatal(err)
	}
	p.Spec.Containers = []corev1.Container{{Name: "c"}}
	if err := yaml.Unmarshal([]byte(`{limits: {cpu: 1500m, memory: 64Mi}}`), &p.Spec.Containers[0].Resources); err != nil {
		t.Fatal(err)
	}
	return p
}

// read returns the files that a container sees in a volume, following links.
func read(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if strings.HasPrefix(n.Name(), "..") {
			continue
		}
		base, err := filepath.EvalSymlinks(filepath.Join(dir, n.Name()))
		if err != nil {
			t.Fatal(err)
		}
		filepath.WalkDir(base, func(path string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				b, _ := os.ReadFile(path)
				files[n.Name()+filepath.ToSlash(strings.TrimPrefix(path, base))] = string(b)
			}
			return err
		})
	}
	return files
}

func TestContent(t *testing.T) {
	for _, c := range []struct {
		name, volume string
		want         map[string]string
		err          string
	}{
		{name: "all keys", volume: `configMap: {name: c}`, want: map[string]string{"a": "1", "b": "2", "raw": "\x00\x01"}},
		{name: "chosen keys", volume: `configMap: {name: c, items: [{key: a, path: x/y}]}`, want: map[string]string{"x/y": "1"}},
		{name: "secret", volume: `secret: {secretName: s}`, want: map[string]string{"password": "x"}},
		{name: "no configmap", volume: `configMap: {name: d}`, err: `MountVolume.SetUp failed for volume "v" : configmap "d" not found`},
		{name: "no secret", volume: `secret: {secretName: d}`, err: `MountVolume.SetUp failed for volume "v" : secret "d" not found`},
		{name: "optional", volume: `configMap: {name: d, optional: true}`, want: map[string]string{}},
		{name: "no key", volume: `configMap: {name: c, items: [{key: z, path: z}]}`, err: `MountVolume.SetUp failed for volume "v" : configmap "c" has no key "z"`},
		{name: "escape", volume: `configMap: {name: c, items: [{key: a, path: ../z}]}`, err: `MountVolume.SetUp failed for volume "v" : "../z" is no path within a volume`},
		{name: "downward", volume: `downwardAPI: {items: [
			{path: labels, fieldRef: {fieldPath: metadata.labels}}, {path: note, fieldRef: {fieldPath: "metadata.annotations['note']"}},
			{path: cpu, resourceFieldRef: {containerName: c, resource: limits.cpu}},
			{path: mi, resourceFieldRef: {containerName: c, resource: limits.memory, divisor: 1Mi}}]}`,
			want: map[string]string{"labels": "app=\"web\"\nb=\"\\\"q\\\"\"", "note": "hi", "cpu": "2", "mi": "64"}},
		{name: "projected", volume: `projected: {sources: [{configMap: {name: c, items: [{key: a, path: a}]}}, {secret: {name: s}}]}`,
			want: map[string]string{"a": "1", "password": "x"}},
		{name: "token", volume: `projected: {sources: [{serviceAccountToken: {path: a/token, expirationSeconds: 3607}}, {serviceAccountToken: {path: v, audience: vault, expirationSeconds: 3607}}]}`,
			want: map[string]string{"a/token": "for the API", "v": "for the vault"}},
		{name: "no token", volume: `projected: {sources: [{serviceAccountToken: {path: token}}]}`,
			err: `MountVolume.SetUp failed for volume "v" : failed to fetch token: the control plane has not sent one for service account "bot" yet`},
		{name: "bundle", volume: `projected: {sources: [{clusterTrustBundle: {path: x}}]}`,
			err: `MountVolume.SetUp failed for volume "v" : this projected source is not supported by this node yet: use configMap, secret, downwardAPI or serviceAccountToken`},
		{name: "nfs", volume: `nfs: {server: a, path: /}`,
			err: `MountVolume.SetUp failed for volume "v" : this kind of volume is not supported by this node yet: use emptyDir, configMap, secret, downwardAPI, projected or hostPath`},
		{name: "memory", volume: `emptyDir: {medium: Memory}`, err: `MountVolume.SetUp failed for volume "v" : emptyDir.medium "Memory" is not supported by this node yet: leave it out`},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := pod(t, "[{name: v, "+strings.ReplaceAll(c.volume, "\t", " ")+"}]")
			paths, err := New(t.TempDir(), nil).Prepare(t.Context(), p, world())
			if err != nil || c.err != "" {
				if err == nil || err.Error() != c.err {
					t.Fatalf("%v, want %s", err, c.err)
				}
				return
			}
			if diff := cmp.Diff(c.want, read(t, paths["v"])); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestUpdateChangesAllFilesAtOnce(t *testing.T) {
	v, o := New(t.TempDir(), nil), world()
	p := pod(t, `[{name: v, configMap: {name: c, defaultMode: 0400}}]`)
	paths, err := v.Prepare(t.Context(), p, o)
	if err != nil {
		t.Fatal(err)
	}
	first, err := os.Readlink(filepath.Join(paths["v"], dataLink))
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Update(t.Context(), p, o); err != nil {
		t.Fatal(err)
	}
	if same, _ := os.Readlink(filepath.Join(paths["v"], dataLink)); same != first {
		t.Error("an update without a change wrote a new set")
	}
	o.configMaps["c"] = &corev1.ConfigMap{Data: map[string]string{"b": "3", "new": "4"}}
	if err := v.Update(t.Context(), p, o); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"b": "3", "new": "4"}, read(t, paths["v"])); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := os.Stat(filepath.Join(paths["v"], first)); err == nil {
		t.Error("the old set is still there")
	}
	info, err := os.Stat(filepath.Join(paths["v"], "b"))
	if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o400 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestTheLastTokenDoesWhileTheControlPlaneIsAway(t *testing.T) {
	v, o := New(t.TempDir(), nil), world()
	p := pod(t, `[{name: v, projected: {sources: [{serviceAccountToken: {path: token, expirationSeconds: 3607}}, {configMap: {name: c, items: [{key: a, path: a}]}}]}}]`)
	check := func(want string) {
		t.Helper()
		paths, err := v.Prepare(t.Context(), p, o)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]string{"token": want, "a": "1"}, read(t, paths["v"])); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	check("for the API")
	o.tokens = nil // as after a reboot
	check("for the API")
	o.tokens = map[string]string{"": "the next"}
	check("the next")
}

func TestEmptyDirStaysUntilRemoved(t *testing.T) {
	v := New(t.TempDir(), nil)
	p := pod(t, `[{name: v, emptyDir: {}}]`)
	for range 2 {
		paths, err := v.Prepare(t.Context(), p, world())
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(filepath.Join(paths["v"], "kept"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		f.WriteString("x")
		f.Close()
	}
	b, err := os.ReadFile(filepath.Join(v.path("uid-1", "v"), "kept"))
	if err != nil || string(b) != "xx" {
		t.Errorf("%q, %v", b, err)
	}
	if err := v.Remove(t.Context(), "uid-1"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(v.path("uid-1", "v")); err == nil {
		t.Error("still there")
	}
	if err := v.Remove(t.Context(), "../elsewhere"); err == nil {
		t.Error("a uid that leads elsewhere was taken")
	}
}

func TestHostPath(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		kind corev1.HostPathType
		ok   bool
	}{
		{dir, "", true}, {dir, "Directory", true}, {dir, "File", false}, {file, "File", true}, {file, "Directory", false},
		{file, "Socket", false}, {filepath.Join(dir, "none"), "", false}, {filepath.Join(dir, "x", "y"), "DirectoryOrCreate", true},
		{filepath.Join(dir, "g"), "FileOrCreate", true}, {"relative", "", false}, {file, "Nonsense", false},
	} {
		err := hostPath(&corev1.HostPathVolumeSource{Path: c.path, Type: &c.kind})
		if (err == nil) != c.ok {
			t.Errorf("%s as %q: %v", c.path, c.kind, err)
		}
	}
}
