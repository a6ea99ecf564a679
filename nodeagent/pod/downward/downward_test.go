package downward

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestField(t *testing.T) {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "web-0", Namespace: "shop", UID: "u-1",
			Labels: map[string]string{"b": `x"y`, "a/b": "1"}, Annotations: map[string]string{"k": "two\nlines"},
		},
		Spec: corev1.PodSpec{NodeName: "n1", ServiceAccountName: "default"},
		Status: corev1.PodStatus{
			PodIP: "10.42.0.5", PodIPs: []corev1.PodIP{{IP: "10.42.0.5"}, {IP: "fd00::5"}},
			HostIP: "192.0.2.1", HostIPs: []corev1.HostIP{{IP: "192.0.2.1"}},
		},
	}
	for path, want := range map[string]string{
		"metadata.name":             "web-0",
		"metadata.namespace":        "shop",
		"metadata.uid":              "u-1",
		"metadata.labels":           "a/b=\"1\"\nb=\"x\\\"y\"",
		"metadata.labels['a/b']":    "1",
		"metadata.labels['none']":   "",
		"metadata.annotations":      `k="two\nlines"`,
		"metadata.annotations['k']": "two\nlines",
		"spec.nodeName":             "n1",
		"spec.serviceAccountName":   "default",
		"status.podIP":              "10.42.0.5",
		"status.podIPs":             "10.42.0.5,fd00::5",
		"status.hostIP":             "192.0.2.1",
		"status.hostIPs":            "192.0.2.1",
	} {
		if got, err := Field(p, path); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", path, got, err, want)
		}
	}
	for _, path := range []string{"", "metadata.nothing", "metadata.name['a']", "metadata.labels['a"} {
		if got, err := Field(p, path); err == nil {
			t.Errorf("%s: got %q, want an error", path, got)
		}
	}
}

func TestResource(t *testing.T) {
	c := &corev1.Container{Resources: corev1.ResourceRequirements{
		Limits:   corev1.ResourceList{"memory": quantity.MustParse("64Mi")},
		Requests: corev1.ResourceList{"cpu": quantity.MustParse("1500m")},
	}}
	node := corev1.ResourceList{"cpu": quantity.MustParse("4"), "memory": quantity.MustParse("8Gi")}
	for _, tt := range []struct{ resource, divisor, want string }{
		{"limits.memory", "", "67108864"},
		{"limits.memory", "1Mi", "64"},
		{"limits.cpu", "", "4"},
		{"requests.cpu", "", "2"},
		{"requests.cpu", "1m", "1500"},
		{"requests.memory", "1Mi", "0"},
	} {
		ref := &corev1.ResourceFieldSelector{Resource: tt.resource}
		if tt.divisor != "" {
			ref.Divisor = quantity.MustParse(tt.divisor)
		}
		if got, err := Resource(c, ref, node); err != nil || got != tt.want {
			t.Errorf("%s / %s: got %q, %v, want %q", tt.resource, tt.divisor, got, err, tt.want)
		}
	}
	if got, err := Resource(c, &corev1.ResourceFieldSelector{Resource: "cpu"}, node); err == nil {
		t.Errorf("got %q, want an error", got)
	}
}
