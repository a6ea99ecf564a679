package pod

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"wherry/nodeagent/runtime"
)

// Folders lay out what is kept of pods, under a folder of the agent.
type Folders string

// Pod is everything that is kept of one pod.
func (f Folders) Pod(uid string) string { return filepath.Join(string(f), uid) }

// Log is the log of one run.
func (f Folders) Log(id runtime.ID) string {
	return filepath.Join(f.Pod(id.Pod), "logs", id.Container, strconv.Itoa(id.Attempt)+".log")
}

// message is the file behind a container's terminationMessagePath.
func (f Folders) message(id runtime.ID) string {
	return filepath.Join(f.Pod(id.Pod), "containers", id.Container, strconv.Itoa(id.Attempt)+".message")
}

// specs makes runtime specs.
type specs struct {
	folders Folders
	objects Objects
	node    corev1.ResourceList // what the node has, for limits that are not set
	domain  string              // of the cluster
	log     LogLimits
}

// LogLimits bound the log of one container.
type LogLimits struct {
	MaxBytes int64
	MaxFiles int
}

// make returns the spec of a container's next run. Errors are about what the container refers to: they may go away.
func (s *specs) make(p *corev1.Pod, have *Have, spec *corev1.Container) (runtime.Spec, error) {
	c := have.Containers[spec.Name]
	vars, err := makeEnv(here(p, have), spec, s.objects, s.node)
	if err != nil {
		return runtime.Spec{}, err
	}
	image := *c.Image
	id := runtime.ID{Pod: string(p.UID), Container: spec.Name, Attempt: c.next()}
	lookup := func(name string) (string, bool) { v, ok := vars[name]; return v, ok }
	mounts, err := s.mounts(have, spec, lookup)
	if err != nil {
		return runtime.Spec{}, err
	}
	out := runtime.Spec{
		ID: id, Namespace: p.Namespace, PodName: p.Name, PodIP: have.Address, Hostname: hostname(p, s.domain),
		Image:   image,
		Command: expandAll(spec.Command, lookup),
		Args:    expandAll(spec.Args, lookup),
		Env:     merge(image.Env, vars, hostname(p, s.domain)),
		Dir:     spec.WorkingDir,
		Stdin:   spec.Stdin, StdinOnce: spec.StdinOnce,
		Mounts: mounts,
		Ports:  ports(spec), HostNetwork: p.Spec.HostNetwork,
		MemoryBytes: spec.Resources.Limits.Memory().Value(),
		CPUMillis:   spec.Resources.Limits.Cpu().MilliValue(), RequestMillis: spec.Resources.Requests.Cpu().MilliValue(),
		LogPath: s.folders.Log(id), LogMaxBytes: s.log.MaxBytes, LogMaxFiles: s.log.MaxFiles,
	}
	return out, s.addMessage(&out, spec)
}

// addMessage gives the container an empty file to leave its last words in. Wasm guests get one only if the pod names
// the path: every mount is one more descriptor before those of their listeners.
func (s *specs) addMessage(out *runtime.Spec, spec *corev1.Container) error {
	guest := spec.TerminationMessagePath
	if guest == "" {
		guest = corev1.TerminationMessagePathDefault
	}
	if out.Image.Kind == "wasm" && guest == corev1.TerminationMessagePathDefault {
		return nil
	}
	path := s.folders.message(out.ID)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make the termination message file: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("make the termination message file: %w", err)
	}
	out.TerminationMessagePath = path
	out.Mounts = append(out.Mounts, runtime.Mount{Host: path, Guest: guest})
	return f.Close()
}

// here is the pod with the addresses that it has on this node.
func here(p *corev1.Pod, have *Have) *corev1.Pod {
	q := *p
	q.Status.HostIP, q.Status.PodIP = have.HostAddress, have.Address
	q.Status.HostIPs = []corev1.HostIP{{IP: have.HostAddress}}
	q.Status.PodIPs = []corev1.PodIP{{IP: have.Address}}
	return &q
}

// merge adds the container's variables to those of the image and of the node.
func merge(image []string, vars map[string]string, hostname string) []string {
	all := map[string]string{"HOSTNAME": hostname}
	for _, kv := range image {
		k, v, _ := strings.Cut(kv, "=")
		all[k] = v
	}
	for k, v := range vars {
		all[k] = v
	}
	return list(all)
}

func expandAll(words []string, lookup func(string) (string, bool)) []string {
	var all []string
	for _, w := range words {
		all = append(all, expand(w, lookup))
	}
	return all
}

// hostname is what the pod calls itself.
func hostname(p *corev1.Pod, domain string) string {
	if name := p.Spec.HostnameOverride; name != nil {
		return *name
	}
	name := p.Spec.Hostname
	if name == "" {
		name = p.Name[:min(len(p.Name), 63)]
		name = strings.TrimRight(name, "-.")
	}
	if isTrue(p.Spec.SetHostnameAsFQDN) && p.Spec.Subdomain != "" {
		return name + "." + p.Spec.Subdomain + "." + p.Namespace + ".svc." + domain
	}
	return name
}

func ports(spec *corev1.Container) []runtime.Port {
	var all []runtime.Port
	for _, p := range spec.Ports {
		protocol := string(p.Protocol)
		if protocol == "" {
			protocol = "TCP"
		}
		all = append(all, runtime.Port{Name: p.Name, Protocol: protocol, Port: uint16(p.ContainerPort)})
	}
	return all
}

func (s *specs) mounts(have *Have, spec *corev1.Container, lookup func(string) (string, bool)) ([]runtime.Mount, error) {
	var all []runtime.Mount
	for _, m := range spec.VolumeMounts {
		host, ok := have.Volumes[m.Name]
		if !ok {
			return nil, fmt.Errorf("volume %q of container %q is not prepared", m.Name, spec.Name)
		}
		sub := m.SubPath
		if m.SubPathExpr != "" {
			sub = expand(m.SubPathExpr, lookup)
		}
		if sub != "" {
			var err error
			if host, err = subPath(host, sub); err != nil {
				return nil, fmt.Errorf("failed to prepare subPath for volumeMount %q of container %q: %w", m.Name, spec.Name, err)
			}
		}
		all = append(all, runtime.Mount{Host: host, Guest: m.MountPath, ReadOnly: m.ReadOnly})
	}
	return all, nil
}

// subPath returns a path in a volume, without symbolic links, and makes a folder if there is nothing. It never
// leaves the volume, whatever links lie in it.
func subPath(volume, sub string) (string, error) {
	if !filepath.IsLocal(filepath.FromSlash(sub)) {
		return "", fmt.Errorf("%q is not a path in the volume", sub)
	}
	root, err := os.OpenRoot(volume)
	if err != nil {
		return "", err
	}
	defer root.Close()
	if _, err := root.Stat(sub); errors.Is(err, fs.ErrNotExist) {
		if err := root.MkdirAll(sub, 0o700); err != nil {
			return "", err
		}
	} else if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(filepath.Join(volume, filepath.FromSlash(sub)))
}
