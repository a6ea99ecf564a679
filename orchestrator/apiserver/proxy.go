package apiserver

import (
	"context"
	"crypto/tls"
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
	utilnet "k8s.io/apimachinery/pkg/util/net"
	proxyutil "k8s.io/apimachinery/pkg/util/proxy"

	"wherry/orchestrator/state"
	"wherry/proto/link"
	"wherry/proto/nodelink"
)

// backend is what a request is sent on to.
type backend struct {
	scheme, host string // http or https
	dial         func(context.Context) (link.Stream, error)
}

// proxyPod answers pods/[SCHEME:]NAME[:PORT]/proxy/PATH with what the pod answers to PATH.
func (c *call) proxyPod() error {
	scheme, name, port, err := c.proxyTarget("pod")
	if err != nil {
		return err
	}
	pod, ok := state.Get[*corev1.Pod](c.s.state, c.at.namespace, name)
	if !ok {
		return apierrors.NewNotFound(c.kind.GroupResource(), name)
	}
	number := firstPort(pod, scheme)
	if port != "" {
		if number, err = strconv.Atoi(port); err != nil || number < 1 || number > 65535 {
			return apierrors.NewBadRequest(fmt.Sprintf("invalid port %q", port))
		}
	}
	return c.proxyTo(pod, number, scheme)
}

// proxyService does the same with one of the ready pods behind a Service.
func (c *call) proxyService() error {
	scheme, name, port, err := c.proxyTarget("service")
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
	return c.proxyTo(pod, number, scheme)
}

// kubeletPort is where clients expect a kubelet. Nothing listens there: its requests cross the link.
const kubeletPort = "10250"

// proxyNode answers nodes/NAME/proxy/PATH with what the node's agent answers to PATH.
func (c *call) proxyNode() error {
	_, name, port, err := c.proxyTarget("node")
	if err != nil {
		return err
	}
	if _, ok := state.Get[*corev1.Node](c.s.state, "", name); !ok {
		return apierrors.NewNotFound(c.kind.GroupResource(), name)
	}
	if port != "" && port != kubeletPort {
		return apierrors.NewBadRequest(fmt.Sprintf("port %s of node %q is not reached from here: only the agent's own, %s, which crosses the link", port, name, kubeletPort))
	}
	return c.proxy(backend{"http", name, func(ctx context.Context) (link.Stream, error) {
		return c.s.openNode(ctx, name, &nodelink.Open{Body: &nodelink.Open_Kubelet{Kubelet: &nodelink.Kubelet{}}})
	}})
}

// proxyTarget reads the name of the path, [SCHEME:]NAME[:PORT].
func (c *call) proxyTarget(what string) (scheme, name, port string, err error) {
	scheme, name, port, valid := utilnet.SplitSchemeNamePort(c.at.name)
	if !valid {
		return "", "", "", apierrors.NewBadRequest(fmt.Sprintf("invalid %s request %q", what, c.at.name))
	}
	if scheme == "" {
		scheme = "http"
	}
	return scheme, name, port, nil
}

// firstPort is the first that the pod declares, or the scheme's own.
func firstPort(pod *corev1.Pod, scheme string) int {
	for _, container := range pod.Spec.Containers {
		if len(container.Ports) > 0 {
			return int(container.Ports[0].ContainerPort)
		}
	}
	if scheme == "https" {
		return 443
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

// proxyTo sends the request on to a port of a pod.
func (c *call) proxyTo(pod *corev1.Pod, port int, scheme string) error {
	if pod.Spec.NodeName == "" {
		return apierrors.NewServiceUnavailable(fmt.Sprintf("pod %s does not have a host assigned", pod.Name))
	}
	return c.proxy(backend{scheme, net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(port)), func(ctx context.Context) (link.Stream, error) {
		return c.connect(ctx, pod, uint16(port))
	}})
}

// proxy sends the request on. As in Kubernetes nobody asks who a pod is that speaks TLS: the link has led to it.
func (c *call) proxy(to backend) error {
	if c.toRoot() {
		return nil
	}
	c.s.streams.Add(1)
	defer c.s.streams.Done()
	ctx, cancel := c.streamContext()
	defer cancel()
	transport := &http.Transport{
		DisableKeepAlives: true, DisableCompression: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			stream, err := to.dial(ctx)
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
		Rewrite:        func(r *httputil.ProxyRequest) { c.rewrite(r, to) },
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

func (c *call) rewrite(r *httputil.ProxyRequest, to backend) {
	r.Out.URL = &url.URL{Scheme: to.scheme, Host: to.host, Path: c.proxied(), RawQuery: c.r.URL.RawQuery}
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
