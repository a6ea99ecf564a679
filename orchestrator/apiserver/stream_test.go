package apiserver_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"

	"wherry/orchestrator/apiserver"
)

func withNodes(nodes apiserver.Nodes) func(*apiserver.Config) {
	return func(cfg *apiserver.Config) { cfg.Nodes = nodes }
}

func TestLogs(t *testing.T) {
	nodes := &fakeNodes{log: "one\ntwo\n", follow: make(chan string)}
	c := start(t, withNodes(nodes))
	ensure(c, newNode("vm"), newRunningPod("p", "a"))
	pods := c.clientset().CoreV1().Pods("default")
	ctx := t.Context()

	tail, since := int64(3), int64(60)
	got, err := pods.GetLogs("p", &corev1.PodLogOptions{TailLines: &tail, SinceSeconds: &since, Timestamps: true}).DoRaw(ctx)
	if err != nil || string(got) != "one\ntwo\n" {
		t.Errorf("log: %q, %v", got, err)
	}
	asked := nodes.last().GetLog()
	age := time.Since(time.Unix(0, asked.SinceUnixNano))
	if asked.TailLines != 3 || !asked.Timestamps || asked.Container != "a" || asked.Follow || age < time.Minute || age > 2*time.Minute {
		t.Errorf("the agent was asked for %+v", asked)
	}

	stream, err := pods.GetLogs("p", &corev1.PodLogOptions{Follow: true, Container: "a", Stream: new(corev1.LogStreamStderr)}).Stream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stream)
	for _, want := range []string{"one", "two", "three"} {
		if want == "three" {
			nodes.follow <- "three\n"
		}
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("followed %q, want %q, %v", lines.Text(), want, lines.Err())
		}
	}
	if asked := nodes.last().GetLog(); asked.Stream != "stderr" {
		t.Errorf("the agent was asked for %+v", asked)
	}
	close(nodes.follow)
	if lines.Scan() {
		t.Errorf("more after the end: %q", lines.Text())
	}
	nodes.running.Wait()
}

func TestLogRefusals(t *testing.T) {
	nodes := &fakeNodes{refuse: "no such pod"}
	c := start(t, withNodes(nodes))
	two := newRunningPod("two", "a")
	two.Spec.Containers = append(two.Spec.Containers, corev1.Container{Name: "b", Image: "hello:v1"})
	pulling := newRunningPod("pulling", "a")
	pulling.Status.ContainerStatuses[0].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}
	creating := newRunningPod("creating", "a")
	creating.Status.ContainerStatuses[0].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}
	fresh := newRunningPod("fresh", "a")
	fresh.Status.ContainerStatuses = nil
	ensure(c, newNode("vm"), newRunningPod("p", "a"), two, pulling, creating, fresh, newPod("pending"))
	for _, test := range []struct {
		pod, query string
		code       int
		want       string
	}{
		{"none", "", 404, `pods \"none\" not found`},
		{"two", "", 400, `a container name must be specified for pod two, choose one of: [a b]`},
		{"p", "container=x", 400, `container x is not valid for pod p`},
		{"pulling", "", 400, `container \"a\" in pod \"pulling\" is waiting to start: trying and failing to pull image`},
		{"creating", "", 400, `container \"a\" in pod \"creating\" is waiting to start: ContainerCreating`},
		{"fresh", "", 400, `container \"a\" in pod \"fresh\" is not available`},
		{"p", "previous=true", 400, `previous terminated container \"a\" in pod \"p\" not found`},
		{"p", "tailLines=-1", 422, `tailLines: Invalid value: -1: must be greater than or equal to 0`},
		{"p", "limitBytes=0", 422, `limitBytes: Invalid value: 0: must be greater than 0`},
		{"p", "sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z", 422, "at most one of `sinceTime` or `sinceSeconds` may be specified"},
		{"p", "sinceTime=yesterday", 400, `sinceTime`},
		{"p", "tailLines=x", 400, `tailLines`},
		{"p", "stream=Both", 422, `PodLogOptions \"p\" is invalid: stream: Unsupported value: \"Both\": supported values: \"All\", \"Stderr\", \"Stdout\"`},
		{"p", "stream=Stdout&tailLines=1", 422, "`tailLines` and specific `stream` are mutually exclusive for now"},
		{"p", "", 502, `node vm: no such pod`},
		{"pending", "", 200, ``},
	} {
		a := c.ask("GET", "/api/v1/namespaces/default/pods/"+test.pod+"/log?"+test.query, "")
		if a.StatusCode != test.code || !strings.Contains(a.body, test.want) {
			t.Errorf("%s?%s: %d %s\nwant %d %s", test.pod, test.query, a.StatusCode, a.body, test.code, test.want)
		}
	}
}

// Both of kubectl's ways to forward ports, with its own code.
func TestPortForward(t *testing.T) {
	for name, dialer := range map[string]func(t *testing.T, config *rest.Config, url *url.URL) httpstream.Dialer{
		"websocket": func(t *testing.T, config *rest.Config, url *url.URL) httpstream.Dialer {
			d, err := portforward.NewSPDYOverWebsocketDialer(url, config)
			if err != nil {
				t.Fatal(err)
			}
			return d
		},
		"spdy": func(t *testing.T, config *rest.Config, url *url.URL) httpstream.Dialer {
			transport, upgrader, err := spdy.RoundTripperFor(config)
			if err != nil {
				t.Fatal(err)
			}
			return spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
		},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := &fakeNodes{}
			c := start(t, withNodes(nodes))
			ensure(c, newNode("vm"), newRunningPod("p", "a"))
			config := c.serve()
			client, err := kubernetes.NewForConfig(config)
			if err != nil {
				t.Fatal(err)
			}
			address := client.CoreV1().RESTClient().Post().Resource("pods").Namespace("default").Name("p").SubResource("portforward").URL()
			forwardAndTalk(t, dialer(t, config, address), nodes)
		})
	}
}

func forwardAndTalk(t *testing.T, dialer httpstream.Dialer, nodes *fakeNodes) {
	stop, ready, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	forwarder, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{"0:7"}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	go func() { done <- forwarder.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		conn, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", ports[0].Local))
		if err != nil {
			t.Fatal(err)
		}
		talk(t, conn)
	}
	close(stop)
	if err := <-done; err != nil && !errors.Is(err, portforward.ErrLostConnectionToPod) {
		t.Error(err)
	}
	nodes.running.Wait()
	if got := nodes.last().GetPortForward().Port; got != 7 {
		t.Errorf("port %d", got)
	}
}

func talk(t *testing.T, conn net.Conn) {
	t.Helper()
	defer conn.Close()
	in := bufio.NewReader(conn)
	big := bytes.Repeat([]byte("0123456789"), 20_000)
	for _, want := range []string{"welcome to vm\n", string(big) + "\n"} {
		if want[0] == '0' {
			if _, err := conn.Write([]byte(want)); err != nil {
				t.Fatal(err)
			}
		}
		got, err := in.ReadString('\n')
		if err != nil || got != want {
			t.Fatalf("%d bytes, want %d, %v", len(got), len(want), err)
		}
	}
}

func TestPortForwardRefusals(t *testing.T) {
	c := start(t, withNodes(&fakeNodes{}))
	ensure(c, newNode("vm"), newRunningPod("p", "a"), newPod("pending"))
	for _, test := range []struct {
		path string
		code int
		want string
	}{
		{"pods/p/portforward", 400, "Upgrade request required"},
		{"pods/pending/portforward", 400, "does not have a host assigned"},
		{"pods/none/portforward", 404, "not found"},
		{"pods/p/exec?command=sh&stdout=true", 400, "Upgrade request required"},
		{"pods/p/attach?stdout=true", 400, "Upgrade request required"},
		{"pods/p/exec?command=sh", 400, "you must specify at least one of stdin, stdout, stderr"},
		{"pods/p/exec?stdout=true", 400, "you must specify at least 1 command for the container"},
		{"pods/p/exec?command=sh&stdout=true&container=x", 400, "container x is not valid for pod p"},
		{"pods/none/exec", 404, "not found"},
	} {
		a := c.ask("GET", "/api/v1/namespaces/default/"+test.path, "")
		if a.StatusCode != test.code || !strings.Contains(a.body, test.want) {
			t.Errorf("%s: %d %s, want %d %s", test.path, a.StatusCode, a.body, test.code, test.want)
		}
	}
}

func TestProxy(t *testing.T) {
	c := start(t, withNodes(&fakeNodes{}))
	secure, behind := newService("tls"), newEndpoints("tls")
	secure.Spec.Ports[0].Port = 443
	*behind.Ports[0].Port = 8443
	behind.Endpoints[0].TargetRef.Name = "ag"
	ensure(c, secure, behind)
	ensure(c, newNode("vm"), newRunningPod("ag", "a"), newService("ag"), newService("lonely"), newEndpoints("ag"))
	const namespace = "/api/v1/namespaces/default/"
	for _, test := range []struct {
		method, path string
		code         int
		want         string
	}{
		{"GET", "services/ag:8080/proxy/a/b?c=d", 200, "GET /a/b?c=d "},
		{"GET", "services/ag/proxy/", 200, "GET / "},
		{"POST", "services/http:ag:8080/proxy/x/", 200, "POST /x/ "},
		{"GET", "pods/ag:8080/proxy/x", 200, "GET /x "},
		{"GET", "services/ag:99/proxy/", 503, `no service port \"99\" found for service \"ag\"`},
		{"GET", "services/lonely/proxy/", 503, `no endpoints available for service \"lonely\"`},
		{"GET", "services/none/proxy/", 404, `services \"none\" not found`},
		{"GET", "services/https:tls:443/proxy/a", 200, "GET /a "},
		{"GET", "pods/https:ag:8443/proxy/a", 200, "GET /a "},
		{"GET", "pods/ftp:ag:8443/proxy/a", 400, `invalid pod request \"ftp:ag:8443\"`},
		{"GET", "services/a:b:c:d/proxy/a", 400, `invalid service request \"a:b:c:d\"`},
		{"GET", "pods/ag:http/proxy/", 400, "invalid port"},
	} {
		a := c.ask(test.method, namespace+test.path, "")
		if a.StatusCode != test.code || !strings.Contains(a.body, test.want) {
			t.Errorf("%s %s: %d %q, want %d %s", test.method, test.path, a.StatusCode, a.body, test.code, test.want)
		}
		if strings.Contains(a.body, "Bearer") {
			t.Errorf("%s: the pod was shown the caller's credentials", test.path)
		}
	}
}

func TestProxyNode(t *testing.T) {
	nodes := &fakeNodes{}
	c := start(t, withNodes(nodes))
	ensure(c, newNode("vm"))
	for _, test := range []struct {
		path string
		code int
		want string
	}{
		{"vm/proxy/stats/summary?a=b", 200, "GET /stats/summary?a=b "},
		{"vm:10250/proxy/pods/", 200, "GET /pods/ "},
		{"https:vm:10250/proxy/healthz", 200, "GET /healthz "},
		{"vm:22/proxy/", 400, `port 22 of node \"vm\" is not reached from here`},
		{"none/proxy/healthz", 404, `nodes \"none\" not found`},
		{"a:b:c:d/proxy/", 400, `invalid node request`},
	} {
		a := c.ask("GET", "/api/v1/nodes/"+test.path, "")
		if a.StatusCode != test.code || !strings.Contains(a.body, test.want) || strings.Contains(a.body, "Bearer") {
			t.Errorf("%s: %d %q, want %d %s", test.path, a.StatusCode, a.body, test.code, test.want)
		}
	}
	nodes.refuse = "no session"
	if a := c.ask("GET", "/api/v1/nodes/vm/proxy/healthz", ""); a.StatusCode != 503 || !strings.Contains(a.body, `node vm: no session`) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

// What leads to the pod leads through the proxy.
func TestProxyRewrites(t *testing.T) {
	c := start(t, withNodes(&fakeNodes{}))
	ensure(c, newNode("vm"), newRunningPod("ag", "a"))
	const proxy = "/api/v1/namespaces/default/pods/ag:8080/proxy"
	if a := c.ask("GET", proxy+"?q=1", ""); a.StatusCode != 301 || a.Header.Get("Location") != proxy+"/?q=1" {
		t.Errorf("without a slash: %d %v", a.StatusCode, a.Header)
	}
	if a := c.ask("GET", proxy+"/old", ""); a.StatusCode != 302 || a.Header.Get("Location") != proxy+"/new/?a=b" || a.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("redirect: %d %v", a.StatusCode, a.Header)
	}
	if a := c.ask("GET", proxy+"/page", ""); a.body != `<a href="`+proxy+`/x">x</a><a href="y">y</a>` {
		t.Errorf("page: %s", a.body)
	}
}

// A connection that the pod takes over goes both ways.
func TestProxyUpgrades(t *testing.T) {
	nodes := &fakeNodes{}
	c := start(t, withNodes(nodes))
	ensure(c, newNode("vm"), newRunningPod("ag", "a"))
	config := c.serve()
	conn, err := tls.Dial("tcp", strings.TrimPrefix(config.Host, "https://"), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = io.WriteString(conn, "GET /api/v1/namespaces/default/pods/ag:8080/proxy/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer admin\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	answer, err := http.ReadResponse(in, nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", answer, err)
	}
	if _, err := io.WriteString(conn, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := in.ReadString('\n'); err != nil || line != "hello\n" {
		t.Errorf("%q, %v", line, err)
	}
	conn.Close()
	nodes.running.Wait()
}
