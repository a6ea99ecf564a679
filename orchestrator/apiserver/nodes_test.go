package apiserver_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"wherry/proto/link"
	"wherry/proto/nodelink"
)

// fakeNodes answers streams as an agent would: logs with log, connections with an echo
// that greets first.
type fakeNodes struct {
	log     string
	follow  chan string // further log, until it is closed; nil: none
	refuse  string
	usage   map[string]*nodelink.NodeUsage // by node
	mu      sync.Mutex
	opened  []*nodelink.Open
	running sync.WaitGroup
}

func (f *fakeNodes) Open(_ context.Context, node string, o *nodelink.Open) (link.Stream, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.opened = append(f.opened, o)
	if f.refuse != "" {
		return nil, errors.New(f.refuse)
	}
	near, far := net.Pipe()
	f.running.Go(func() {
		defer far.Close()
		switch body := o.Body.(type) {
		case *nodelink.Open_Log:
			f.writeLog(far, body.Log.Follow)
		case *nodelink.Open_PortForward:
			f.talk(far, node, body.PortForward.Port)
		case *nodelink.Open_Exec:
			f.run(far, body.Exec.Command)
		case *nodelink.Open_Attach:
			f.run(far, []string{"cat"})
		case *nodelink.Open_Kubelet:
			f.talk(far, node, 8080)
		case *nodelink.Open_Usage:
			if u := f.usage[node]; u != nil {
				_ = nodelink.WriteMessage(far, u)
			}
		}
	})
	return &pipeStream{Conn: near}, nil
}

// certificate is one that nobody trusts.
var certificate = sync.OnceValue(func() tls.Certificate {
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	defer server.Close()
	return server.TLS.Certificates[0]
})

// talk serves HTTP on port 8080, with TLS on port 8443, and elsewhere greets and echoes.
func (f *fakeNodes) talk(conn net.Conn, node string, port uint32) {
	if port == 8443 {
		server := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{certificate()}})
		defer server.Close()
		f.talk(server, node, 8080)
		return
	}
	if port != 8080 {
		if _, err := io.WriteString(conn, "welcome to "+node+"\n"); err == nil {
			_, _ = io.Copy(conn, conn)
		}
		return
	}
	in := bufio.NewReader(conn)
	request, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	switch {
	case request.Header.Get("Upgrade") != "":
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		line, _ := in.ReadString('\n')
		_, _ = io.WriteString(conn, line)
		return
	case request.URL.Path == "/old":
		_, _ = io.WriteString(conn, "HTTP/1.1 302 Found\r\nLocation: /new/?a=b\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 0\r\n\r\n")
		return
	case request.URL.Path == "/page":
		const page = `<a href="/x">x</a><a href="y">y</a>`
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s", len(page), page)
		return
	}
	body := request.Method + " " + request.URL.RequestURI() + " " + request.Header.Get("Authorization")
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func (f *fakeNodes) writeLog(w io.Writer, follow bool) {
	if _, err := io.WriteString(w, f.log); err != nil || !follow || f.follow == nil {
		return
	}
	for text := range f.follow {
		if _, err := io.WriteString(w, text); err != nil {
			return
		}
	}
}

func (f *fakeNodes) last() *nodelink.Open {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.opened[len(f.opened)-1]
}

// pipeStream is a stream over one end of a pipe, which has no half-close.
type pipeStream struct{ net.Conn }

func (s *pipeStream) CloseWrite() error { return s.SetWriteDeadline(time.Unix(1, 0)) }
func (s *pipeStream) Reset(link.Code)   { _ = s.Close() }

// run does what a driver does: "cat" gives back what is typed, "warn" writes to standard error, "size" shows the first size
// of the terminal, "exit" ends with code 3, anything else is no command.
func (f *fakeNodes) run(conn net.Conn, command []string) {
	send := func(m *nodelink.Console) bool { return nodelink.WriteMessage(conn, m) == nil }
	exit := &nodelink.Exit{}
	switch command[0] {
	case "cat", "size":
		for {
			m := &nodelink.Console{}
			if nodelink.ReadMessage(conn, m, nodelink.MaxConsole) != nil {
				return
			}
			if size := m.GetResize(); size != nil && command[0] == "size" {
				send(&nodelink.Console{Body: &nodelink.Console_Stdout{Stdout: fmt.Appendf(nil, "%dx%d", size.Columns, size.Rows)}})
				break
			}
			if m.GetStdinClosed() && command[0] == "cat" {
				break
			}
			if typed := m.GetStdin(); typed != nil {
				send(&nodelink.Console{Body: &nodelink.Console_Stdout{Stdout: typed}})
			}
		}
	case "warn":
		send(&nodelink.Console{Body: &nodelink.Console_Stderr{Stderr: []byte("beware")}})
	case "exit":
		exit.Code = 3
	default:
		exit.Error = command[0] + ": not found"
	}
	send(&nodelink.Console{Body: &nodelink.Console_Exit{Exit: exit}})
}
