package pod

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"wherry/nodeagent/pod/downward"
)

// environment makes the variables of one container.
type environment struct {
	pod     *corev1.Pod // with the addresses that it has here
	objects Objects
	node    corev1.ResourceList
	vars    map[string]string // declared by the container
	links   map[string]string // of Services: seen by references, overridden by vars
}

// makeEnv returns a container's variables, name to value. An error is about an object that is missing.
func makeEnv(p *corev1.Pod, spec *corev1.Container, objects Objects, node corev1.ResourceList) (map[string]string, error) {
	e := &environment{pod: p, objects: objects, node: node, vars: map[string]string{}, links: serviceVariables(p, objects)}
	for i := range spec.EnvFrom {
		if err := e.from(&spec.EnvFrom[i]); err != nil {
			return nil, err
		}
	}
	for i := range spec.Env {
		v := &spec.Env[i]
		value, ok, err := e.value(spec, v)
		if err != nil {
			return nil, err
		}
		if ok {
			e.vars[v.Name] = value
		}
	}
	all := maps.Clone(e.links)
	maps.Copy(all, e.vars)
	return all, nil
}

func (e *environment) lookup(name string) (string, bool) {
	if v, ok := e.vars[name]; ok {
		return v, true
	}
	v, ok := e.links[name]
	return v, ok
}

func (e *environment) from(source *corev1.EnvFromSource) error {
	switch {
	case source.ConfigMapRef != nil:
		ref := source.ConfigMapRef
		m, err := e.configMap(ref.Name, isTrue(ref.Optional))
		if m == nil || err != nil {
			return err
		}
		for k, v := range m.Data {
			e.vars[source.Prefix+k] = v
		}
	case source.SecretRef != nil:
		ref := source.SecretRef
		s, err := e.secret(ref.Name, isTrue(ref.Optional))
		if s == nil || err != nil {
			return err
		}
		for k, v := range s.Data {
			e.vars[source.Prefix+k] = string(v)
		}
	}
	return nil
}

// value of one variable; ok is false for an optional one that is not there.
func (e *environment) value(spec *corev1.Container, v *corev1.EnvVar) (value string, ok bool, err error) {
	if v.Value != "" || v.ValueFrom == nil {
		return expand(v.Value, e.lookup), true, nil
	}
	switch from := v.ValueFrom; {
	case from.FieldRef != nil:
		value, err = downward.Field(e.pod, from.FieldRef.FieldPath)
		return value, true, err
	case from.ResourceFieldRef != nil:
		value, err = e.resource(spec, from.ResourceFieldRef)
		return value, true, err
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		m, err := e.configMap(ref.Name, isTrue(ref.Optional))
		if m == nil || err != nil {
			return "", false, err
		}
		value, ok = m.Data[ref.Key]
		return value, ok, e.missing(ok || isTrue(ref.Optional), ref.Key, "ConfigMap", ref.Name)
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		s, err := e.secret(ref.Name, isTrue(ref.Optional))
		if s == nil || err != nil {
			return "", false, err
		}
		data, ok := s.Data[ref.Key]
		return string(data), ok, e.missing(ok || isTrue(ref.Optional), ref.Key, "Secret", ref.Name)
	}
	return "", true, nil
}

func (e *environment) missing(fine bool, key, kind, name string) error {
	if fine {
		return nil
	}
	return fmt.Errorf("couldn't find key %v in %s %v/%v", key, kind, e.pod.Namespace, name)
}

func (e *environment) configMap(name string, optional bool) (*corev1.ConfigMap, error) {
	m := e.objects.ConfigMap(e.pod.Namespace, name)
	if m == nil && !optional {
		return nil, fmt.Errorf("configmap %q not found", name)
	}
	return m, nil
}

func (e *environment) secret(name string, optional bool) (*corev1.Secret, error) {
	s := e.objects.Secret(e.pod.Namespace, name)
	if s == nil && !optional {
		return nil, fmt.Errorf("secret %q not found", name)
	}
	return s, nil
}

func (e *environment) resource(spec *corev1.Container, ref *corev1.ResourceFieldSelector) (string, error) {
	if ref.ContainerName != "" && ref.ContainerName != spec.Name {
		other := find(e.pod, ref.ContainerName)
		if other == nil {
			return "", fmt.Errorf("container %s not found", ref.ContainerName)
		}
		spec = other
	}
	return downward.Resource(spec, ref, e.node)
}

// serviceVariables tell about the Services of the pod's namespace; about default/kubernetes always.
func serviceVariables(p *corev1.Pod, objects Objects) map[string]string {
	vars := map[string]string{}
	for _, s := range objects.Services(corev1.NamespaceDefault) {
		if s.Name == "kubernetes" {
			addServiceVariables(vars, s)
		}
	}
	if links := p.Spec.EnableServiceLinks; links != nil && !*links {
		return vars
	}
	for _, s := range objects.Services(p.Namespace) {
		addServiceVariables(vars, s)
	}
	return vars
}

func addServiceVariables(vars map[string]string, s *corev1.Service) {
	ip := s.Spec.ClusterIP
	if ip == "" || ip == corev1.ClusterIPNone || len(s.Spec.Ports) == 0 {
		return
	}
	name := variableName(s.Name)
	vars[name+"_SERVICE_HOST"] = ip
	for i, port := range s.Spec.Ports {
		number := strconv.Itoa(int(port.Port))
		protocol := strings.ToLower(string(port.Protocol))
		if protocol == "" {
			protocol = "tcp"
		}
		address := protocol + "://" + net.JoinHostPort(ip, number)
		if i == 0 {
			vars[name+"_SERVICE_PORT"] = number
			vars[name+"_PORT"] = address
		}
		if port.Name != "" {
			vars[name+"_SERVICE_PORT_"+variableName(port.Name)] = number
		}
		prefix := name + "_PORT_" + number + "_" + strings.ToUpper(protocol)
		vars[prefix] = address
		vars[prefix+"_PROTO"] = protocol
		vars[prefix+"_PORT"] = number
		vars[prefix+"_ADDR"] = ip
	}
}

func variableName(s string) string { return strings.ToUpper(strings.ReplaceAll(s, "-", "_")) }

// list is "K=V" of all variables, sorted.
func list(vars map[string]string) []string {
	all := make([]string, 0, len(vars))
	for _, k := range slices.Sorted(maps.Keys(vars)) {
		all = append(all, k+"="+vars[k])
	}
	return all
}
