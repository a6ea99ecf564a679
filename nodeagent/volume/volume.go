// Package volume makes the directories that pods mount: emptyDir, configMap, secret,
// downwardAPI, projected and hostPath, all below one directory of the agent:
//
//	<dir>/<pod uid>/volumes/<volume>/          emptyDir: the pod's own
//	<dir>/<pod uid>/volumes/<volume>/..data    -> the newest set of files
//	<dir>/<pod uid>/volumes/<volume>/<key>     -> ..data/<key>
package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
)

// ErrUnsupported says that the pod asks for a volume that this agent cannot make.
var ErrUnsupported = errors.New("not supported by this node yet")

// Objects are the ConfigMaps and Secrets that this node was told of, nil: there is none; and service-account tokens of
// pods, "": it has not come yet.
type Objects interface {
	ConfigMap(namespace, name string) *corev1.ConfigMap
	Secret(namespace, name string) *corev1.Secret
	Token(podUID, audience string, seconds int64) string
}

// Volumes makes and removes volumes below a directory. All methods may be called
// concurrently for different pods.
type Volumes struct {
	dir  string
	node corev1.ResourceList
}

// New returns Volumes that keeps everything below dir, the directory of the pods. node is what the machine has: the
// limits of containers that set none, in files about them.
func New(dir string, node corev1.ResourceList) *Volumes { return &Volumes{dir, node} }

func (v *Volumes) path(podUID, volume string) string {
	return filepath.Join(v.dir, podUID, "volumes", volume)
}

// Prepare makes all of the pod's volumes and returns the host path of each by name. What
// is in an emptyDir stays. Errors name the volume and what is missing.
func (v *Volumes) Prepare(ctx context.Context, p *corev1.Pod, o Objects) (map[string]string, error) {
	paths := map[string]string{}
	for i := range p.Spec.Volumes {
		vol := &p.Spec.Volumes[i]
		path, err := v.prepare(p, vol, o)
		if err != nil {
			return nil, fmt.Errorf("MountVolume.SetUp failed for volume %q : %w", vol.Name, err)
		}
		paths[vol.Name] = path
	}
	return paths, nil
}

func (v *Volumes) prepare(p *corev1.Pod, vol *corev1.Volume, o Objects) (string, error) {
	if !filepath.IsLocal(vol.Name) || !filepath.IsLocal(string(p.UID)) {
		return "", fmt.Errorf("%q of pod %q is no name for a directory", vol.Name, p.UID)
	}
	path := v.path(string(p.UID), vol.Name)
	switch {
	case vol.HostPath != nil:
		return vol.HostPath.Path, hostPath(vol.HostPath)
	case vol.EmptyDir != nil:
		return path, emptyDir(path, vol.EmptyDir)
	}
	files, err := v.content(p, vol, o)
	if err != nil {
		return "", err
	}
	return path, publish(path, files)
}

// Update brings what was made of ConfigMaps, Secrets and the pod's fields up to date.
func (v *Volumes) Update(ctx context.Context, p *corev1.Pod, o Objects) error {
	var errs []error
	for i := range p.Spec.Volumes {
		vol := &p.Spec.Volumes[i]
		if vol.HostPath != nil || vol.EmptyDir != nil {
			continue
		}
		if _, err := v.prepare(p, vol, o); err != nil {
			errs = append(errs, fmt.Errorf("MountVolume.SetUp failed for volume %q : %w", vol.Name, err))
		}
	}
	return errors.Join(errs...)
}

// Remove removes everything of the pod's volumes. hostPaths stay. Unknown pods: nil.
func (v *Volumes) Remove(ctx context.Context, podUID string) error {
	if !filepath.IsLocal(podUID) {
		return fmt.Errorf("%q is no pod uid", podUID)
	}
	return os.RemoveAll(filepath.Join(v.dir, podUID, "volumes"))
}

func emptyDir(path string, e *corev1.EmptyDirVolumeSource) error {
	if e.Medium != corev1.StorageMediumDefault {
		return fmt.Errorf("emptyDir.medium %q is %w: leave it out", e.Medium, ErrUnsupported)
	}
	if e.SizeLimit != nil && !e.SizeLimit.IsZero() {
		return fmt.Errorf("emptyDir.sizeLimit is %w: leave it out", ErrUnsupported)
	}
	return os.MkdirAll(path, 0o700)
}

// hostPath checks, and where the type says so makes, what the pod names (core/v1 HostPathType).
func hostPath(h *corev1.HostPathVolumeSource) error {
	kind := corev1.HostPathUnset
	if h.Type != nil {
		kind = *h.Type
	}
	if !filepath.IsAbs(h.Path) {
		return fmt.Errorf("hostPath.path %q is not absolute", h.Path)
	}
	switch kind {
	case corev1.HostPathDirectoryOrCreate:
		if err := os.MkdirAll(h.Path, 0o755); err != nil {
			return fmt.Errorf("hostPath: %w", err)
		}
	case corev1.HostPathFileOrCreate:
		f, err := os.OpenFile(h.Path, os.O_RDONLY|os.O_CREATE, 0o644)
		if err != nil {
			return fmt.Errorf("hostPath: %w", err)
		}
		if err := f.Close(); err != nil {
			return fmt.Errorf("hostPath: %w", err)
		}
	}
	info, err := os.Stat(h.Path)
	if err != nil {
		return fmt.Errorf("hostPath: %w", err)
	}
	if !isA(info.Mode(), kind) {
		return fmt.Errorf("hostPath type check failed: %s is not a %s", h.Path, kind)
	}
	return nil
}

func isA(mode os.FileMode, kind corev1.HostPathType) bool {
	switch kind {
	case corev1.HostPathUnset:
		return true
	case corev1.HostPathDirectory, corev1.HostPathDirectoryOrCreate:
		return mode.IsDir()
	case corev1.HostPathFile, corev1.HostPathFileOrCreate:
		return mode.IsRegular()
	case corev1.HostPathSocket:
		return mode&os.ModeSocket != 0
	case corev1.HostPathCharDev:
		return mode&os.ModeCharDevice != 0
	case corev1.HostPathBlockDev:
		return mode&os.ModeDevice != 0 && mode&os.ModeCharDevice == 0
	}
	return false
}
