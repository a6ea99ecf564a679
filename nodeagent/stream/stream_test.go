package stream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/nodeagent/runtime"
	"wherry/nodeagent/runtime/logfile"
	"wherry/proto/link"
	"wherry/proto/link/memlink"
	"wherry/proto/nodelink"
)

// node is a server, its two ends of the link, and one pod.
type node struct {
	*testing.T
	control link.Session
	status  *corev1.PodStatus
	dir     string
	ended   chan struct{}
	dial    func() (net.Conn, error)
	execer  runtime.Execer
}

func inNode(t *testing.T, test func(*node)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := &node{T: t, dir: t.TempDir(), ended: make(chan struct{}), status: &corev1.PodStatus{}}
		agent, control := memlink.Pipe("n1", "key", link.ProtocolNode)
		n.control = control
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			n.serve(ctx, agent)
		}()
		test(n)
		cancel()
		<-done
		control.Close(link.CodeOK, "")
		agent.Close(link.CodeOK, "")
	})
}

func (n *node) server() *Server {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default", UID: "u1"}}
	dial := func() (net.Conn, error) {
		if n.dial == nil {
			return nil, errors.New("connection refused")
		}
		return n.dial()
	}
	return New(Config{
		Pod: func(uid string) (*corev1.Pod, *corev1.PodStatus) {
			if uid != "u1" {
				return nil, nil
			}
			return p, n.status
		},
		LogPath: n.log,
		Ended: func(ctx context.Context, id runtime.ID) {
			select {
			case <-ctx.Done():
			case <-n.ended:
			}
		},
		Execer: func(context.Context, runtime.ID) (runtime.Execer, error) {
			if n.execer == nil {
				return nil, errors.New("no exec here")
			}
			return n.execer, nil
		},
		Kubelet: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, r.Method, r.URL.Path) }),
		Usage: func(context.Context) *nodelink.NodeUsage {
			return &nodelink.NodeUsage{Machine: &nodelink.Used{NanoCores: 7}}
		},
		DialPod: func(context.Context, string, uint16) (net.Conn, error) { return dial() },
		DialTunnel: func(context.Context, netip.AddrPort, string, netip.AddrPort) (net.Conn, error) {
			return dial()
		},
	})
}

func (n *node) log(id runtime.ID) string {
	return filepath.Join(n.dir, fmt.Sprintf("%s-%d.log", id.Container, id.Attempt))
}

// serve does what the uplink does with streams, until the context ends.
func (n *node) serve(ctx context.Context, agent link.Session) {
	s := n.server()
	ends := make(chan struct{})
	count := 0
	for {
		st, err := agent.Accept(ctx)
		if err != nil {
			break
		}
		count++
		go func() {
			var o nodelink.Open
			if err := nodelink.ReadMessage(st, &o, nodelink.MaxOpening); err != nil {
				n.Error(err)
			}
			serve, err := s.Open(ctx, &o)
			opened := &nodelink.Opened{}
			if err != nil {
				opened.Refusal = &nodelink.Refusal{Message: err.Error()}
				serve = func(_ context.Context, st link.Stream) { st.Close() }
			}
			if err := nodelink.WriteMessage(st, opened); err != nil && !errors.As(err, new(*link.Error)) {
				n.Error(err)
			}
			serve(ctx, st)
			ends <- struct{}{}
		}()
	}
	for range count {
		<-ends
	}
}

// open opens a stream as the control plane does; "" or the words of the refusal.
func (n *node) open(o *nodelink.Open) (link.Stream, string) {
	n.Helper()
	st, err := n.control.Open(n.Context())
	if err != nil {
		n.Fatal(err)
	}
	var opened nodelink.Opened
	if err := errors.Join(nodelink.WriteMessage(st, o), nodelink.ReadMessage(st, &opened, nodelink.MaxOpening)); err != nil {
		n.Fatal(err)
	}
	return st, opened.GetRefusal().GetMessage()
}

func (n *node) must(o *nodelink.Open) link.Stream {
	n.Helper()
	st, why := n.open(o)
	if why != "" {
		n.Fatal(why)
	}
	return st
}

func logOf(l *nodelink.Log) *nodelink.Open {
	if l.PodUid == "" {
		l.PodUid = "u1"
	}
	if l.Container == "" {
		l.Container = "app"
	}
	return &nodelink.Open{Body: &nodelink.Open_Log{Log: l}}
}

func portForward(uid string, port uint32) *nodelink.Open {
	return &nodelink.Open{Body: &nodelink.Open_PortForward{PortForward: &nodelink.PortForward{PodUid: uid, Port: port}}}
}

func tunnel(network, address string) *nodelink.Open {
	return &nodelink.Open{Body: &nodelink.Open_Tunnel{Tunnel: &nodelink.Tunnel{Network: network, Address: address, Port: 53}}}
}

func (n *node) container(restarts int32, state, last corev1.ContainerState) {
	n.status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", RestartCount: restarts, State: state, LastTerminationState: last}}
}

var (
	running    = corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	terminated = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}
	crashing   = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
	creating   = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}
	nothing    corev1.ContainerState
)

func (n *node) write(attempt int, text string) *logfile.Writer {
	w, err := logfile.Create(n.log(runtime.ID{Container: "app", Attempt: attempt}), logfile.Options{})
	if err != nil {
		n.Fatal(err)
	}
	if _, err := io.WriteString(w.Stream("stdout"), text); err != nil {
		n.Fatal(err)
	}
	n.Cleanup(func() { w.Close() })
	return w
}

func TestLogOfWhichRun(t *testing.T) {
	tests := []struct {
		name        string
		restarts    int32
		state, last corev1.ContainerState
		previous    bool
		want        string // the text, or the refusal after "!"
	}{
		{"running", 0, running, nothing, false, "run 0\n"},
		{"running again", 2, running, terminated, false, "run 2\n"},
		{"previous", 2, running, terminated, true, "run 1\n"},
		{"terminated", 1, terminated, terminated, false, "run 1\n"},
		{"crashing", 1, crashing, terminated, false, "run 1\n"},
		{"crashing, previous", 1, crashing, terminated, true, "run 1\n"},
		{"no previous", 0, running, nothing, true, `!previous terminated container "app" in pod "web" not found`},
		{"not started", 0, creating, nothing, false, `!container "app" in pod "web" is waiting to start: ContainerCreating`},
		{"removed", 9, running, nothing, false, `!the log of container "app" is not here`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inNode(t, func(n *node) {
				for i := range 3 {
					n.write(i, fmt.Sprintf("run %d\n", i))
				}
				n.container(tt.restarts, tt.state, tt.last)
				st, why := n.open(logOf(&nodelink.Log{Previous: tt.previous, TailLines: -1}))
				text, err := io.ReadAll(st)
				if err != nil {
					t.Fatal(err)
				}
				if got := string(text); got != tt.want && (why == "" || !strings.HasPrefix("!"+why, tt.want)) {
					t.Errorf("got %q, refused %q", got, why)
				}
				st.Close()
			})
		})
	}
}

func TestLogOptions(t *testing.T) {
	inNode(t, func(n *node) {
		n.write(0, "a\nb\nc\n")
		n.container(0, running, nothing)
		for _, tt := range []struct {
			log  *nodelink.Log
			want string
		}{
			{&nodelink.Log{TailLines: -1}, "a\nb\nc\n"},
			{&nodelink.Log{TailLines: 1}, "c\n"},
			{&nodelink.Log{TailLines: 0}, ""},
			{&nodelink.Log{TailLines: -1, LimitBytes: 3}, "a\nb"},
			{&nodelink.Log{TailLines: 1, Timestamps: true}, "2000-01-01T00:00:00.000000000Z c\n"},
			{&nodelink.Log{TailLines: -1, SinceUnixNano: time.Now().Add(time.Second).UnixNano()}, ""},
		} {
			st := n.must(logOf(tt.log))
			text, err := io.ReadAll(st)
			if err != nil || string(text) != tt.want {
				t.Errorf("%v: got %q, %v", tt.log, text, err)
			}
			st.Close()
		}
	})
}

func TestFollow(t *testing.T) {
	inNode(t, func(n *node) {
		w := n.write(0, "")
		n.container(0, running, nothing)
		st := n.must(logOf(&nodelink.Log{Follow: true, TailLines: -1}))
		var got bytes.Buffer
		read := make(chan error, 1)
		go func() {
			_, err := io.Copy(&got, st)
			read <- err
		}()
		fmt.Fprintln(w.Stream("stdout"), "later")
		synctest.Wait()
		if got.String() != "later\n" {
			t.Errorf("got %q", got.String())
		}
		close(n.ended)
		if err := <-read; err != nil {
			t.Error(err)
		}
		st.Close()
	})
}

// A follower that goes away leaves nothing behind: the bubble would tell.
func TestFollowerGoesAway(t *testing.T) {
	for name, leave := range map[string]func(link.Stream){
		"close": func(st link.Stream) { st.Close() },
		"reset": func(st link.Stream) { st.Reset(link.CodeCanceled) },
	} {
		t.Run(name, func(t *testing.T) {
			inNode(t, func(n *node) {
				n.write(0, "")
				n.container(0, running, nothing)
				leave(n.must(logOf(&nodelink.Log{Follow: true, TailLines: -1})))
				synctest.Wait()
			})
		})
	}
}

func TestRefusals(t *testing.T) {
	inNode(t, func(n *node) {
		for _, tt := range []struct {
			open *nodelink.Open
			want string
		}{
			{logOf(&nodelink.Log{PodUid: "other"}), `no pod with uid "other" is on this node now`},
			{logOf(&nodelink.Log{Container: "other"}), `container "other" in pod "web" is not available`},
			{portForward("other", 80), `no pod with uid "other" is on this node now`},
			{portForward("u1", 0), "0 is no port"},
			{portForward("u1", 70000), "70000 is no port"},
			{portForward("u1", 80), "failed to connect to port 80 of pod default/web: connection refused"},
			{tunnel("sctp", "10.42.0.5"), `there is no tunnel to sctp "10.42.0.5" port 53`},
			{tunnel("tcp", "nowhere"), `there is no tunnel to tcp "nowhere" port 53`},
			{tunnel("tcp", "10.42.0.5"), "connection refused"},
			{&nodelink.Open{}, "this agent does not know what the stream is for; it may be older than the control plane"},
		} {
			st, why := n.open(tt.open)
			if why != tt.want {
				t.Errorf("got %q, want %q", why, tt.want)
			}
			if rest, err := io.ReadAll(st); err != nil || len(rest) != 0 {
				t.Errorf("then %q, %v", rest, err)
			}
			st.Close()
		}
	})
}

// loopback is a connection over the machine's loopback: it has half-close.
func loopback(t *testing.T) (here, there *net.TCPConn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return a.(*net.TCPConn), b.(*net.TCPConn)
}

func TestPortForwardHalfClose(t *testing.T) {
	inNode(t, func(n *node) {
		here, there := loopback(t)
		n.dial = func() (net.Conn, error) { return here, nil }
		st := n.must(portForward("u1", 80))
		if _, err := io.WriteString(st, "question"); err != nil {
			t.Fatal(err)
		}
		if err := st.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(there); err != nil || string(got) != "question" {
			t.Errorf("the pod got %q, %v", got, err)
		}
		if _, err := io.WriteString(there, "answer"); err != nil {
			t.Fatal(err)
		}
		there.Close()
		if got, err := io.ReadAll(st); err != nil || string(got) != "answer" {
			t.Errorf("the client got %q, %v", got, err)
		}
		st.Close()
	})
}

func TestPortForwardReset(t *testing.T) {
	inNode(t, func(n *node) {
		here, there := net.Pipe()
		n.dial = func() (net.Conn, error) { return here, nil }
		n.must(portForward("u1", 80)).Reset(link.CodeCanceled)
		if _, err := there.Read(make([]byte, 1)); err != io.EOF && !errors.Is(err, os.ErrClosed) {
			t.Errorf("the pod's end: %v", err)
		}
	})
}

func TestTunnelOfPackets(t *testing.T) {
	inNode(t, func(n *node) {
		here, there := net.Pipe() // keeps the borders of writes
		n.dial = func() (net.Conn, error) { return here, nil }
		st := n.must(tunnel("udp", "10.42.0.5"))
		go io.WriteString(st, "\x00\x02hi\x00\x00\x00\x05there")
		b := make([]byte, 100)
		for _, want := range []string{"hi", "", "there"} {
			if got, err := there.Read(b); err != nil || string(b[:got]) != want {
				t.Fatalf("got %q, %v, want %q", b[:got], err, want)
			}
		}
		go io.WriteString(there, "back")
		if _, err := io.ReadFull(st, b[:6]); err != nil || string(b[:6]) != "\x00\x04back" {
			t.Errorf("got %q, %v", b[:6], err)
		}
		st.Close()
		there.Close()
	})
}

func TestUsage(t *testing.T) {
	inNode(t, func(n *node) {
		st := n.must(&nodelink.Open{Body: &nodelink.Open_Usage{Usage: &nodelink.Usage{}}})
		u := &nodelink.NodeUsage{}
		if err := nodelink.ReadMessage(st, u, nodelink.MaxMessage); err != nil || u.Machine.GetNanoCores() != 7 {
			t.Errorf("%v, %v", u, err)
		}
		st.Close()
	})
}

// One connection takes several requests, and its end leaves nothing behind: the bubble tells.
func TestKubelet(t *testing.T) {
	inNode(t, func(n *node) {
		conn := link.NetConn(n.must(&nodelink.Open{Body: &nodelink.Open_Kubelet{Kubelet: &nodelink.Kubelet{}}}), "", "")
		in := bufio.NewReader(conn)
		for _, path := range []string{"/healthz", "/pods"} {
			fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: n1\r\n\r\n", path)
			answer, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(answer.Body)
			if err != nil || string(body) != "GET "+path+"\n" {
				t.Errorf("%q, %v", body, err)
			}
		}
		conn.Close()
	})
}
