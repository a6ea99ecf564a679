package volume

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"wherry/nodeagent/pod/downward"
)

// file is one file of a volume.
type file struct {
	data []byte
	mode int32
}

// content computes the files of a volume that is made of objects, by path.
func (v *Volumes) content(p *corev1.Pod, vol *corev1.Volume, o Objects) (map[string]file, error) {
	switch {
	case vol.ConfigMap != nil:
		s := vol.ConfigMap
		return configMap(p, o, s.Name, s.Items, s.Optional, mode(s.DefaultMode))
	case vol.Secret != nil:
		s := vol.Secret
		return secret(p, o, s.SecretName, s.Items, s.Optional, mode(s.DefaultMode))
	case vol.DownwardAPI != nil:
		return v.downward(p, vol.DownwardAPI.Items, mode(vol.DownwardAPI.DefaultMode))
	case vol.Projected != nil:
		return v.projected(p, vol, o)
	}
	return nil, fmt.Errorf("this kind of volume is %w: use emptyDir, configMap, secret, downwardAPI, projected or hostPath", ErrUnsupported)
}

func mode(m *int32) int32 {
	if m == nil {
		return 0o644
	}
	return *m
}

func (v *Volumes) projected(p *corev1.Pod, vol *corev1.Volume, o Objects) (map[string]file, error) {
	s, all := vol.Projected, map[string]file{}
	for i := range s.Sources {
		files, err := v.source(p, vol.Name, &s.Sources[i], o, mode(s.DefaultMode))
		if err != nil {
			return nil, err
		}
		maps.Copy(all, files)
	}
	return all, nil
}

func (v *Volumes) source(p *corev1.Pod, volume string, s *corev1.VolumeProjection, o Objects, mode int32) (map[string]file, error) {
	switch {
	case s.ConfigMap != nil:
		return configMap(p, o, s.ConfigMap.Name, s.ConfigMap.Items, s.ConfigMap.Optional, mode)
	case s.Secret != nil:
		return secret(p, o, s.Secret.Name, s.Secret.Items, s.Secret.Optional, mode)
	case s.DownwardAPI != nil:
		return v.downward(p, s.DownwardAPI.Items, mode)
	case s.ServiceAccountToken != nil:
		return v.token(p, volume, s.ServiceAccountToken, o, mode)
	}
	return nil, fmt.Errorf("this projected source is %w: use configMap, secret, downwardAPI or serviceAccountToken", ErrUnsupported)
}

// token is the newest token that came, else the one that the volume holds from before this machine or its agent was
// started anew: it may have ended by now, but so has the way to the control plane that would have brought another.
func (v *Volumes) token(p *corev1.Pod, volume string, s *corev1.ServiceAccountTokenProjection, o Objects, mode int32) (map[string]file, error) {
	seconds := int64(3600)
	if s.ExpirationSeconds != nil {
		seconds = *s.ExpirationSeconds
	}
	files := map[string]file{s.Path: {[]byte(o.Token(string(p.UID), s.Audience, seconds)), mode}}
	if err := checkPaths(files); err != nil {
		return nil, err
	}
	if len(files[s.Path].data) > 0 {
		return files, nil
	}
	old, err := os.ReadFile(filepath.Join(v.path(string(p.UID), volume), dataLink, filepath.FromSlash(s.Path)))
	if err != nil || len(old) == 0 {
		return nil, fmt.Errorf("failed to fetch token: the control plane has not sent one for service account %q yet", p.Spec.ServiceAccountName)
	}
	files[s.Path] = file{old, mode}
	return files, nil
}

func configMap(p *corev1.Pod, o Objects, name string, items []corev1.KeyToPath, optional *bool, mode int32) (map[string]file, error) {
	cm := o.ConfigMap(p.Namespace, name)
	if cm == nil {
		return missing(fmt.Sprintf("configmap %q not found", name), optional)
	}
	data := map[string][]byte{}
	for k, v := range cm.Data {
		data[k] = []byte(v)
	}
	maps.Copy(data, cm.BinaryData)
	return choose(data, items, optional, mode, fmt.Sprintf("configmap %q", name))
}

func secret(p *corev1.Pod, o Objects, name string, items []corev1.KeyToPath, optional *bool, mode int32) (map[string]file, error) {
	s := o.Secret(p.Namespace, name)
	if s == nil {
		return missing(fmt.Sprintf("secret %q not found", name), optional)
	}
	return choose(s.Data, items, optional, mode, fmt.Sprintf("secret %q", name))
}

func missing(what string, optional *bool) (map[string]file, error) {
	if optional != nil && *optional {
		return nil, nil
	}
	return nil, fmt.Errorf("%s", what)
}

// choose picks the keys that items name, or all.
func choose(data map[string][]byte, items []corev1.KeyToPath, optional *bool, mode int32, from string) (map[string]file, error) {
	files := map[string]file{}
	if len(items) == 0 {
		for key, b := range data {
			files[key] = file{b, mode}
		}
	}
	for _, item := range items {
		b, ok := data[item.Key]
		if !ok {
			if optional != nil && *optional {
				continue
			}
			return nil, fmt.Errorf("%s has no key %q", from, item.Key)
		}
		m := mode
		if item.Mode != nil {
			m = *item.Mode
		}
		files[item.Path] = file{b, m}
	}
	return files, checkPaths(files)
}

func checkPaths(files map[string]file) error {
	for path := range files {
		first, _, _ := strings.Cut(filepath.ToSlash(path), "/")
		if !filepath.IsLocal(path) || strings.HasPrefix(first, "..") {
			return fmt.Errorf("%q is no path within a volume", path)
		}
	}
	return nil
}

func (v *Volumes) downward(p *corev1.Pod, items []corev1.DownwardAPIVolumeFile, mode int32) (map[string]file, error) {
	files := map[string]file{}
	for _, item := range items {
		text, err := v.downwardText(p, &item)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", item.Path, err)
		}
		m := mode
		if item.Mode != nil {
			m = *item.Mode
		}
		files[item.Path] = file{[]byte(text), m}
	}
	return files, checkPaths(files)
}

func (v *Volumes) downwardText(p *corev1.Pod, item *corev1.DownwardAPIVolumeFile) (string, error) {
	switch ref := item.ResourceFieldRef; {
	case item.FieldRef != nil:
		return downward.Field(p, item.FieldRef.FieldPath)
	case ref != nil:
		all := slices.Concat(p.Spec.InitContainers, p.Spec.Containers)
		i := slices.IndexFunc(all, func(c corev1.Container) bool { return c.Name == ref.ContainerName })
		if i < 0 {
			return "", fmt.Errorf("container %q not found", ref.ContainerName)
		}
		return downward.Resource(&all[i], ref, v.node)
	}
	return "", fmt.Errorf("neither fieldRef nor resourceFieldRef is set")
}
