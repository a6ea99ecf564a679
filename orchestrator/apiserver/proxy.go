package apiserver

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	proxyutil "k8s.io/apimachinery/pkg/util/proxy"

	"wherry/orchestrator/state"
	"wherry/proto/link"
)

// proxyPod answers pods/[http:]NAME[:PORT]/proxy/PATH with what the pod answers to PATH.
func (c *call) proxyPod() error {
	name, port, err := proxyTarget(c.at.name)
	if err != nil {
		return err
	}
	pod, ok := state.Get[*corev1.Pod](c.s.state, c.at.namespace, name)
	if !ok {
		return apierrors.NewNotFound(c.kind.GroupResource(), name)
	}
	number := firstPort(pod)
	if port != "" {
		if number, err = strconv.Atoi(port); err != nil || number < 1 || number > 65535 {
			return apierrors.NewBadRequest(fmt.Sprintf("invalid port %q", port))
		}
	}
	return c.proxy(pod, number)
}

// proxyService does the same with one of the ready pods behind a Service.
func (c *call) proxyService() error {
	name, port, err := proxyTarget(c.at.name)
	if err != nil {
		return err
	}
	service, ok := state.Get[*corev1.Service](c.s.state, c.at.namespace, name)
	if !ok {
		return apierrors.NewNotFound(c.kind.GroupResource(), name)
	}
	portName, err := servicePort(service, port)
	if err != nil {
		return err
	}
	pod, number := c.endpoint(service, portName)
	if pod == nil {
		return apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", c.at.name))
	}
	return c.proxy(pod, number)
}

// proxyTarget reads [scheme:]name[:port].
func proxyTarget(text string) (name, port string, err error) {
	parts := strings.Split(text, ":")
	switch {
	case len(parts) == 1:
		return parts[0], "", nil
	case len(parts) == 2:
		return parts[0], parts[1], nil
	case len(parts) == 3 && (parts[0] == "http" || parts[0] == ""):
		return parts[1], parts[2], nil
	case len(parts) == 3 && parts[0] == "https":
		return "", "", apierrors.NewBadRequest("proxying to https is not supported")
	}
	return "", "", apierrors.NewBadRequest(fmt.Sprintf("invalid proxy target %q", text))
}

// firstPort is the first that the pod declares, or 80.
func firstPort(pod *corev1.Pod) int {
	for _, container := range pod.Spec.Containers {
		if len(container.Ports) > 0 {
			return int(container.Ports[0].ContainerPort)
		}
	}
	return 80
}

// servicePort finds the name of a service's port, given its name or number; "" is the only one.
func servicePort(service *corev1.Service, port string) (string, error) {
	for _, p := range service.Spec.Ports {
		if port == "" && len(service.Spec.Ports) == 1 || port == strconv.Itoa(int(p.Port)) || port != "" && port == p.Name {
			return p.Name, nil
		}
	}
	return "", apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %q found for service %q", port, service.Name))
}

// endpoint chooses a ready pod and the port that it serves the service on, or nil.
func (c *call) endpoint(service *corev1.Service, portName string) (*corev1.Pod, int) {
	type candidate struct {
		pod  *corev1.Pod
		port int
	}
	var all []candidate
	of := labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: service.Name})
	for _, slice := range state.List[*discoveryv1.EndpointSlice](c.s.state, state.Selector{Namespace: service.Namespace, Labels: of}) {
		number := slicePort(slice, portName)
		for _, e := range slice.Endpoints {
			if number == 0 || e.Conditions.Ready != nil && !*e.Conditions.Ready || e.TargetRef == nil {
				continue
			}
			if pod, ok := state.Get[*corev1.Pod](c.s.state, service.Namespace, e.TargetRef.Name); ok {
				all = append(all, candidate{pod, number})
			}
		}
	}
	if len(all) == 0 {
		return nil, 0
	}
	chosen := all[rand.IntN(len(all))]
	return chosen.pod, chosen.port
}

func slicePort(slice *discoveryv1.EndpointSlice, name string) int {
	for _, p := range slice.Ports {
		if p.Port != nil && (p.Name == nil && name == "" || p.Name != nil && *p.Name == name) {
			return int(*p.Port)
		}
	}
	return 0
}

// proxy sends the request on to a port of a pod.
func (c *call) proxy(pod *corev1.Pod, port int) error {
	if pod.Spec.NodeName == "" {
		return apierrors.NewServiceUnavailable(fmt.Sprintf("pod %s does not have a host assigned", pod.Name))
	}
	if c.toRoot() {
		return nil
	}
	c.s.streams.Add(1)
	defer c.s.streams.Done()
	ctx, cancel := c.streamContext()
	defer cancel()
	transport := &http.Transport{
		DisableKeepAlives: true, DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			stream, err := c.connect(ctx, pod, uint16(port))
			if err != nil {
				return nil, err
			}
			return streamConn{stream}, nil
		},
	}
	defer transport.CloseIdleConnections()
	proxy := &httputil.ReverseProxy{
		Transport:      &proxyutil.Transport{PathPrepend: strings.TrimSuffix(c.r.URL.Path, c.proxied()), RoundTripper: transport},
		FlushInterval:  -1,
		ModifyResponse: withoutCORS,
		Rewrite:        func(r *httputil.ProxyRequest) { c.rewrite(r, pod, port) },
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			c.s.fail(w, c.r, err) // proxyutil has worded it
		},
	}
	proxy.ServeHTTP(c.w, c.r.WithContext(ctx))
	return nil
}

// proxied is the path that the pod is asked for. Redirects and the links of HTML that lead to the pod are rewritten to lead
// through the proxy: the pod does not know what stands before its paths.
func (c *call) proxied() string {
	path := "/" + c.at.rest
	if strings.HasSuffix(c.r.URL.Path, "/") && !strings.HasSuffix(path, "/") {
		path += "/"
	}
	return path
}

// toRoot sends who asks for the pod's root without a slash at its end to the one with it, so that relative links
// lead to the pod.
func (c *call) toRoot() bool {
	reads := c.r.Method == http.MethodGet || c.r.Method == http.MethodHead
	if c.at.rest != "" || strings.HasSuffix(c.r.URL.Path, "/") || !reads || c.r.Header.Get("Upgrade") != "" {
		return false
	}
	to := url.URL{Path: c.r.URL.Path + "/", RawQuery: c.r.URL.RawQuery}
	c.w.Header().Set("Location", to.String())
	c.w.WriteHeader(http.StatusMovedPermanently)
	return true
}

// withoutCORS takes away what would let other sites' scripts use the API through a pod.
func withoutCORS(r *http.Response) error {
	for _, name := range []string{"Access-Control-Allow-Credentials", "Access-Control-Allow-Headers", "Access-Control-Allow-Methods", "Access-Control-Allow-Origin"} {
		r.Header.Del(name)
	}
	return nil
}

func (c *call) rewrite(r *httputil.ProxyRequest, pod *corev1.Pod, port int) {
	host := net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(port))
	r.Out.URL = &url.URL{Scheme: "http", Host: host, Path: c.proxied(), RawQuery: c.r.URL.RawQuery}
	r.Out.Host = ""
	r.Out.Header.Del("Authorization") // the cluster's credentials are not the pod's business
	r.SetXForwarded()
}

// streamConn is a link's stream as a connection.
type streamConn struct{ link.Stream }

func (streamConn) LocalAddr() net.Addr  { return streamAddr{} }
func (streamConn) RemoteAddr() net.Addr { return streamAddr{} }

type streamAddr struct{}

func (streamAddr) Network() string { return "link" }
func (streamAddr) String() string  { return "link" }
