// Package downward tells a container about its pod: the fields that environment variables (fieldRef,
// resourceFieldRef) and files of a downwardAPI volume may name. It is pure.
package downward

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	quantity "k8s.io/apimachinery/pkg/api/resource"
)

// Field returns the value of a field of the pod. Addresses are taken from its status.
func Field(p *corev1.Pod, path string) (string, error) {
	if name, key, ok := subscript(path); ok {
		switch name {
		case "metadata.labels":
			return p.Labels[key], nil
		case "metadata.annotations":
			return p.Annotations[key], nil
		}
		return "", fmt.Errorf("invalid fieldPath %q: only labels and annotations have subscripts", path)
	}
	field, ok := fields[path]
	if !ok {
		return "", fmt.Errorf("unsupported fieldPath: %v", path)
	}
	return field(p), nil
}

var fields = map[string]func(*corev1.Pod) string{
	"metadata.name":           func(p *corev1.Pod) string { return p.Name },
	"metadata.namespace":      func(p *corev1.Pod) string { return p.Namespace },
	"metadata.uid":            func(p *corev1.Pod) string { return string(p.UID) },
	"metadata.labels":         func(p *corev1.Pod) string { return lines(p.Labels) },
	"metadata.annotations":    func(p *corev1.Pod) string { return lines(p.Annotations) },
	"spec.nodeName":           func(p *corev1.Pod) string { return p.Spec.NodeName },
	"spec.serviceAccountName": func(p *corev1.Pod) string { return p.Spec.ServiceAccountName },
	"spec.restartPolicy":      func(p *corev1.Pod) string { return string(p.Spec.RestartPolicy) },
	"status.phase":            func(p *corev1.Pod) string { return string(p.Status.Phase) },
	"status.hostIP":           func(p *corev1.Pod) string { return p.Status.HostIP },
	"status.hostIPs": func(p *corev1.Pod) string {
		var all []string
		for _, ip := range p.Status.HostIPs {
			all = append(all, ip.IP)
		}
		return strings.Join(all, ",")
	},
	"status.podIP": func(p *corev1.Pod) string { return p.Status.PodIP },
	"status.podIPs": func(p *corev1.Pod) string {
		var all []string
		for _, ip := range p.Status.PodIPs {
			all = append(all, ip.IP)
		}
		return strings.Join(all, ",")
	},
}

// subscript splits "metadata.labels['key']".
func subscript(path string) (name, key string, ok bool) {
	name, rest, ok := strings.Cut(path, "['")
	if !ok {
		return "", "", false
	}
	key, ok = strings.CutSuffix(rest, "']")
	return name, key, ok
}

// lines is one key="value" a line, sorted.
func lines(m map[string]string) string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	all := make([]string, 0, len(m))
	for _, k := range keys {
		all = append(all, k+"="+strconv.Quote(m[k]))
	}
	return strings.Join(all, "\n")
}

// Resource returns what a container may use, or is promised, in units of the divisor, rounded up. A limit that is not
// set is what the node has.
func Resource(c *corev1.Container, ref *corev1.ResourceFieldSelector, node corev1.ResourceList) (string, error) {
	kind, name, ok := strings.Cut(ref.Resource, ".")
	if !ok {
		return "", fmt.Errorf("unsupported container resource : %v", ref.Resource)
	}
	var value quantity.Quantity
	switch kind {
	case "limits":
		value = Limit(c, corev1.ResourceName(name), node)
	case "requests":
		value = c.Resources.Requests[corev1.ResourceName(name)]
	default:
		return "", fmt.Errorf("unsupported container resource : %v", ref.Resource)
	}
	return divide(corev1.ResourceName(name), value, ref.Divisor), nil
}

// Limit of a resource: the container's, else what the node has.
func Limit(c *corev1.Container, name corev1.ResourceName, node corev1.ResourceList) quantity.Quantity {
	if q, ok := c.Resources.Limits[name]; ok && !q.IsZero() {
		return q
	}
	return node[name]
}

func divide(name corev1.ResourceName, value, divisor quantity.Quantity) string {
	if divisor.IsZero() {
		divisor = quantity.MustParse("1")
	}
	if name == corev1.ResourceCPU {
		return strconv.FormatInt(int64(math.Ceil(float64(value.MilliValue())/float64(divisor.MilliValue()))), 10)
	}
	return strconv.FormatInt(int64(math.Ceil(float64(value.Value())/float64(divisor.Value()))), 10)
}
