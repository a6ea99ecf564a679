package apiserver

import (
	"net/url"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"wherry/orchestrator/apiserver/audit"
	"wherry/orchestrator/state"
)

// remarks takes what admission has to say about this call.
func (c *call) remarks() *state.Remarks {
	return &state.Remarks{OnWarning: c.warnOnce(), OnAudit: audit.From(c.ctx()).Annotate}
}

// maxWarnings bounds what admission may say to a client, in characters.
const maxWarnings = 4 << 10

// warnOnce is warn for rules, which may say the same thing again in every attempt, and
// several at a time.
func (c *call) warnOnce() func(string) {
	var mu sync.Mutex
	said, size := map[string]bool{}, 0
	return func(text string) {
		mu.Lock()
		defer mu.Unlock()
		length := utf8.RuneCountInString(text)
		if said[text] || size+length > maxWarnings {
			return
		}
		said[text] = true
		size += length
		c.warn(text)
	}
}

// connectOptions read from the query what a stream into a node asks for: admission judges it as a CONNECT.
var connectOptions = map[schema.GroupVersionKind]func(url.Values) runtime.Object{
	corev1.SchemeGroupVersion.WithKind("PodAttachOptions"): func(q url.Values) runtime.Object {
		return &corev1.PodAttachOptions{Stdin: flag(q, "stdin"), Stdout: flag(q, "stdout"), Stderr: flag(q, "stderr"), TTY: flag(q, "tty"), Container: q.Get("container")}
	},
	corev1.SchemeGroupVersion.WithKind("PodExecOptions"): func(q url.Values) runtime.Object {
		return &corev1.PodExecOptions{Stdin: flag(q, "stdin"), Stdout: flag(q, "stdout"), Stderr: flag(q, "stderr"), TTY: flag(q, "tty"), Container: q.Get("container"), Command: q["command"]}
	},
	corev1.SchemeGroupVersion.WithKind("PodPortForwardOptions"): func(q url.Values) runtime.Object { return &corev1.PodPortForwardOptions{Ports: numbers(q["ports"])} },
	corev1.SchemeGroupVersion.WithKind("PodProxyOptions"):       func(q url.Values) runtime.Object { return &corev1.PodProxyOptions{Path: q.Get("path")} },
	corev1.SchemeGroupVersion.WithKind("ServiceProxyOptions"):   func(q url.Values) runtime.Object { return &corev1.ServiceProxyOptions{Path: q.Get("path")} },
	corev1.SchemeGroupVersion.WithKind("NodeProxyOptions"):      func(q url.Values) runtime.Object { return &corev1.NodeProxyOptions{Path: q.Get("path")} },
}

// flag is true unless the query says nothing, 0 or false, as Kubernetes reads it.
func flag(q url.Values, name string) bool {
	values := q[name]
	return len(values) > 0 && values[0] != "0" && !strings.EqualFold(values[0], "false")
}

func numbers(texts []string) []int32 {
	var all []int32
	for _, text := range texts {
		for part := range strings.SplitSeq(text, ",") {
			if n, err := strconv.ParseInt(part, 10, 32); err == nil {
				all = append(all, int32(n))
			}
		}
	}
	return all
}

// connecting asks admission before h opens a stream.
func connecting(a action, h handler) handler {
	read, ok := connectOptions[a.kind]
	if !ok {
		return h
	}
	return func(c *call) error {
		options := read(c.r.URL.Query())
		options.GetObjectKind().SetGroupVersionKind(a.kind)
		if path := c.connectPath(); path != "" {
			setPath(options, path)
		}
		err := c.s.state.Ask(c.ctx(), state.Attributes{
			Kind: c.kind, Subresource: a.name, Operation: state.OpConnect, Namespace: c.namespace(), Name: c.at.name,
			Connect: options, User: c.user.Info(), Remarks: c.remarks(),
		})
		if err != nil {
			return err
		}
		return h(c)
	}
}

// connectPath is what a proxied request asks for below /proxy.
func (c *call) connectPath() string {
	if c.at.rest == "" {
		return ""
	}
	return "/" + c.at.rest
}

func setPath(options runtime.Object, path string) {
	switch o := options.(type) {
	case *corev1.PodProxyOptions:
		o.Path = path
	case *corev1.ServiceProxyOptions:
		o.Path = path
	case *corev1.NodeProxyOptions:
		o.Path = path
	}
}
