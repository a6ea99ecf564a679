package wasm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxHeader bounds the header that a guest answers with, in bytes.
	maxHeader = 64 << 10
	// drained is how much of a body that nobody reads net/http reads to keep the connection, in bytes.
	drained = 256 << 10
	// software is how this server calls itself.
	software = "wherry"
)

// cgi runs the module for one request. Who goes away, or takes too long, ends the guest.
func (s *server) cgi(ctx context.Context, w *response, r *http.Request) {
	if r.ContentLength < 0 {
		http.Error(w, "a CGI program must be told how long the body is", http.StatusLengthRequired)
		return
	}
	if r.ContentLength > drained {
		w.Header().Set("Connection", "close") // what a guest leaves unread of it is not read either
	}
	_ = http.NewResponseController(w).EnableFullDuplex() // what cannot has it anyway (HTTP/2)
	stdout, answered := io.Pipe()
	defer stdout.Close() // a guest that writes goes on, to its end
	log := &lineWriter{to: s.errors}
	input := &body{w: w, r: r.Body}
	input.left.Store(r.ContentLength)
	guest := s.guest
	guest.Env = append(slices.Clone(s.guest.Env), meta(r)...)
	guest.Stdin, guest.Stdout, guest.Stderr = input, answered, log
	i, err := s.host.Start(ctx, s.module, guest)
	if err != nil {
		s.errors.line(err.Error())
		s.fail(ctx, w, "the handler cannot be started")
		return
	}
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	running.Go(func() {
		select {
		case <-i.Done():
		case <-ctx.Done():
			i.Kill()
			_ = stdout.CloseWithError(ctx.Err()) // it never fails; a write of the guest ends
			<-i.Done()
		}
		if len(log.rest) > 0 {
			log.flush()
		}
		if exit := i.Exit(); exit.Message != "" {
			s.errors.line(exit.Message)
		}
		_ = answered.Close() // it never fails
	})
	if err := relay(w, r, stdout); err != nil {
		s.broken(ctx, w, err)
	}
}

// body is a request's, of which a guest may leave something.
type body struct {
	w    http.ResponseWriter
	r    io.Reader
	left atomic.Int64
}

func (b *body) Read(p []byte) (int, error) {
	left := b.left.Load()
	if left <= 0 {
		return 0, io.EOF
	}
	n, err := b.r.Read(p[:min(int64(len(p)), left)])
	b.left.Add(-int64(n))
	return n, err
}

// Close ends a Read that waits for the client. The connection takes no further request then.
func (b *body) Close() error {
	if b.left.Load() <= 0 {
		return nil
	}
	return http.NewResponseController(b.w).SetReadDeadline(time.Unix(1, 0))
}

// broken ends a request whose guest did not answer, or not to the end.
func (s *server) broken(ctx context.Context, w *response, err error) {
	if w.status != 0 {
		panic(http.ErrAbortHandler) // so that the client sees that something is missing
	}
	if ctx.Err() == nil {
		s.errors.line("the answer is no CGI: " + err.Error())
	}
	s.fail(ctx, w, "the handler did not answer")
}

func (s *server) fail(ctx context.Context, w *response, text string) {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		http.Error(w, "the handler took too long", http.StatusGatewayTimeout)
		return
	}
	http.Error(w, text, http.StatusBadGateway)
}

// relay sends on what a guest answers: a header, and a body as it comes.
func relay(w *response, r *http.Request, stdout io.Reader) error {
	answer := bufio.NewReaderSize(stdout, 16<<10)
	header, status, err := readHeader(answer)
	if err != nil {
		return err
	}
	for name, values := range header {
		if !hop[name] {
			w.Header()[name] = values
		}
	}
	w.WriteHeader(status)
	flush := http.NewResponseController(w).Flush
	buf := make([]byte, 16<<10)
	for {
		n, err := answer.Read(buf)
		if n > 0 && r.Method != http.MethodHead {
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
			if err := flush(); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// hop are headers that are this server's to set.
var hop = map[string]bool{"Connection": true, "Keep-Alive": true, "Proxy-Connection": true, "Te": true, "Trailer": true, "Transfer-Encoding": true, "Upgrade": true, "Status": true}

// readHeader reads the header of an answer (RFC 3875, section 6).
func readHeader(r *bufio.Reader) (http.Header, int, error) {
	left := maxHeader
	header := http.Header{}
	for {
		line, err := r.ReadSlice('\n')
		if left -= len(line); left < 0 || errors.Is(err, bufio.ErrBufferFull) {
			return nil, 0, errors.New("its header is too long")
		}
		if err != nil {
			return nil, 0, fmt.Errorf("it ends in its header: %w", noEOF(err))
		}
		text := strings.TrimRight(string(line), "\r\n")
		if text == "" {
			break
		}
		name, value, ok := strings.Cut(text, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t") {
			return nil, 0, fmt.Errorf("its header has a line %.100q", text)
		}
		header.Add(textproto.CanonicalMIMEHeaderKey(name), strings.TrimSpace(value))
	}
	status, err := statusOf(header)
	return header, status, err
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func statusOf(header http.Header) (int, error) {
	if text := header.Get("Status"); text != "" {
		code, _, _ := strings.Cut(text, " ")
		status, err := strconv.Atoi(code)
		if err != nil || status < 200 || status > 599 {
			return 0, fmt.Errorf("its status is %.100q", text)
		}
		return status, nil
	}
	switch {
	case header.Get("Location") != "":
		return http.StatusFound, nil
	case header.Get("Content-Type") == "":
		return 0, errors.New("it has neither Status nor Content-Type nor Location")
	}
	return http.StatusOK, nil
}

// meta are the variables of a request (RFC 3875, section 4.1).
func meta(r *http.Request) []string {
	from, at := remote(r), local(r)
	name := r.Host
	if host, _, err := net.SplitHostPort(r.Host); err == nil {
		name = host
	}
	env := []string{
		"GATEWAY_INTERFACE=CGI/1.1",
		"SERVER_SOFTWARE=" + software,
		"SERVER_PROTOCOL=" + r.Proto,
		"SERVER_NAME=" + name,
		"SERVER_PORT=" + strconv.Itoa(int(at.Port())),
		"REMOTE_ADDR=" + from.Addr().String(),
		"REMOTE_HOST=" + from.Addr().String(),
		"REMOTE_PORT=" + strconv.Itoa(int(from.Port())),
		"REQUEST_METHOD=" + r.Method,
		"REQUEST_URI=" + r.URL.RequestURI(),
		"SCRIPT_NAME=",
		"PATH_INFO=" + r.URL.Path,
		"QUERY_STRING=" + r.URL.RawQuery,
	}
	if r.ContentLength > 0 {
		env = append(env, "CONTENT_LENGTH="+strconv.FormatInt(r.ContentLength, 10))
	}
	if kind := r.Header.Get("Content-Type"); kind != "" {
		env = append(env, "CONTENT_TYPE="+kind)
	}
	if r.Host != "" {
		env = append(env, "HTTP_HOST="+r.Host)
	}
	return append(env, headerEnv(r.Header)...)
}

// headerEnv are the headers. Left out is what could pass for another: Proxy, which programs take for their own proxy, and names
// with an underscore.
func headerEnv(header http.Header) []string {
	var env []string
	for name, values := range header {
		switch {
		case name == "Proxy", name == "Content-Type", name == "Content-Length", strings.Contains(name, "_"):
			continue
		}
		separator := ", "
		if name == "Cookie" {
			separator = "; "
		}
		value := strings.ReplaceAll(strings.Join(values, separator), "\x00", "")
		env = append(env, "HTTP_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))+"="+value)
	}
	slices.Sort(env)
	return env
}

// local is the address that was asked.
func local(r *http.Request) netip.AddrPort {
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		if at, err := netip.ParseAddrPort(a.String()); err == nil {
			return at
		}
	}
	return netip.AddrPort{}
}
