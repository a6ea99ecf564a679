// Package linktest says what a link.Session must do, as tests that every implementation
// passes.
package linktest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"wherry/proto/link"
)

// Pair is a fresh session of ProtocolNode; the dialer is node "n1".
type Pair struct{ Dialer, Acceptor link.Session }

// Test runs the suite. connect makes a pair that is cleaned up with t.
func Test(t *testing.T, connect func(t *testing.T) Pair) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.run(t, connect(t)) })
	}
}

// Bubble runs the suite with each test in a bubble of its own, as made by run
// (synctest.Test).
func Bubble(t *testing.T, run func(*testing.T, func(*testing.T)), connect func(t *testing.T) Pair) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			run(t, func(t *testing.T) { c.run(t, connect(t)) })
		})
	}
}

var cases = []struct {
	name string
	run  func(t *testing.T, p Pair)
}{
	{"both know who the other is", identity},
	{"bytes go both ways, whoever opens", echoes},
	{"half-close ends one direction", halfClose},
	{"reset carries its code both ways", reset},
	{"close tells the writer that nobody reads", closeWhileWritten},
	{"after closing, calls return ErrClosed", ownEnd},
	{"a reader that stands still holds up nobody else", stalled},
	{"deadlines pass and can be lifted", deadlines},
	{"waiting ends with the context", contexts},
	{"the peer's last words end everything", lastWords},
	{"closing ends everything here", closing},
	{"a megabyte arrives as it was", large},
	{"hundreds of streams at once", many},
	{"streams are used up and come back", limit},
}

const patience = 10 * time.Second

func wait(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// open opens a stream at a, says hello, and accepts it at b.
func open(t *testing.T, a, b link.Session) (link.Stream, link.Stream) {
	t.Helper()
	sa, err := a.Open(wait(t))
	must(t, err)
	_, err = sa.Write([]byte("h"))
	must(t, err)
	sb, err := b.Accept(wait(t))
	must(t, err)
	must(t, sb.SetReadDeadline(time.Now().Add(patience)))
	_, err = io.ReadFull(sb, make([]byte, 1))
	must(t, err)
	must(t, sb.SetReadDeadline(time.Time{}))
	return sa, sb
}

func wantCode(t *testing.T, what string, err error, code link.Code) {
	t.Helper()
	var e *link.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("%s: got %v, want an Error with code %d", what, err, code)
	}
}

func want(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func identity(t *testing.T, p Pair) {
	if got := p.Acceptor.Peer(); got.Node != "n1" || got.Key == "" || got.Address == "" {
		t.Errorf("the acceptor's peer is %+v", got)
	}
	if got := p.Dialer.Peer(); got.Node != "" || got.Key != "" || got.Address == "" {
		t.Errorf("the dialer's peer is %+v", got)
	}
	for _, s := range []link.Session{p.Dialer, p.Acceptor} {
		if s.Protocol() != link.ProtocolNode {
			t.Errorf("protocol %q", s.Protocol())
		}
	}
}

func echoes(t *testing.T, p Pair) {
	for _, s := range [][2]link.Session{{p.Dialer, p.Acceptor}, {p.Acceptor, p.Dialer}} {
		a, b := open(t, s[0], s[1])
		_, err := b.Write([]byte("answer"))
		must(t, err)
		must(t, b.CloseWrite())
		got, err := io.ReadAll(a)
		if string(got) != "answer" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		must(t, a.Close())
	}
}

func halfClose(t *testing.T, p Pair) {
	a, b := open(t, p.Dialer, p.Acceptor)
	_, err := a.Write([]byte("question"))
	must(t, err)
	must(t, a.CloseWrite())
	got, err := io.ReadAll(b)
	if string(got) != "question" || err != nil {
		t.Fatalf("got %q, %v", got, err)
	}
	_, err = a.Write([]byte("x"))
	want(t, "write after CloseWrite", err, link.ErrClosed)
	_, err = b.Write([]byte("late answer"))
	must(t, err)
	must(t, b.Close())
	got, err = io.ReadAll(a)
	if string(got) != "late answer" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	must(t, a.Close())
}

func reset(t *testing.T, p Pair) {
	a, b := open(t, p.Dialer, p.Acceptor)
	a.Reset(link.CodeUnauthorized)
	_, err := io.ReadAll(b)
	wantCode(t, "read", err, link.CodeUnauthorized)
	wantCode(t, "write", writeUntil(t, b), link.CodeUnauthorized)
	_, err = a.Read(make([]byte, 1))
	want(t, "own read", err, link.ErrClosed)
	_, err = a.Write([]byte("x"))
	want(t, "own write", err, link.ErrClosed)
}

// writeUntil writes until it fails.
func writeUntil(t *testing.T, s link.Stream) error {
	t.Helper()
	must(t, s.SetWriteDeadline(time.Now().Add(patience)))
	for {
		if _, err := s.Write(make([]byte, 1024)); err != nil {
			return err
		}
	}
}

func closeWhileWritten(t *testing.T, p Pair) {
	a, b := open(t, p.Dialer, p.Acceptor)
	must(t, b.Close())
	wantCode(t, "write", writeUntil(t, a), link.CodeCanceled)
	if got, err := io.ReadAll(a); len(got) != 0 || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func ownEnd(t *testing.T, p Pair) {
	a, b := open(t, p.Dialer, p.Acceptor)
	must(t, a.Close())
	_, err := a.Read(make([]byte, 1))
	want(t, "read", err, link.ErrClosed)
	_, err = a.Write([]byte("x"))
	want(t, "write", err, link.ErrClosed)
	if got, err := io.ReadAll(b); len(got) != 0 || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func stalled(t *testing.T, p Pair) {
	for range 10 {
		a, _ := open(t, p.Dialer, p.Acceptor)
		must(t, a.SetWriteDeadline(time.Now().Add(200*time.Millisecond)))
		_, err := a.Write(make([]byte, 4<<20))
		want(t, "write to nobody", err, os.ErrDeadlineExceeded)
	}
	echoes(t, p)
}

func deadlines(t *testing.T, p Pair) {
	a, b := open(t, p.Dialer, p.Acceptor)
	buf := make([]byte, 8)
	must(t, a.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
	_, err := a.Read(buf)
	want(t, "read until then", err, os.ErrDeadlineExceeded)
	_, err = a.Read(buf)
	want(t, "read after it", err, os.ErrDeadlineExceeded)
	must(t, a.SetDeadline(time.Time{}))

	var work sync.WaitGroup
	work.Go(func() {
		_, err := a.Read(buf)
		want(t, "read under way", err, os.ErrDeadlineExceeded)
	})
	must(t, a.SetDeadline(time.Now().Add(-time.Second)))
	work.Wait()

	must(t, a.SetDeadline(time.Time{}))
	_, err = b.Write([]byte("late"))
	must(t, err)
	n, err := io.ReadFull(a, buf[:4])
	if string(buf[:n]) != "late" || err != nil {
		t.Errorf("got %q, %v", buf[:n], err)
	}
}

func contexts(t *testing.T, p Pair) {
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	var work sync.WaitGroup
	work.Go(func() {
		_, err := p.Acceptor.Accept(ctx)
		want(t, "accept", err, cause)
	})
	cancel(cause)
	work.Wait()
	_, err := p.Dialer.Open(ctx)
	want(t, "open", err, cause)
	echoes(t, p)
}

func lastWords(t *testing.T, p Pair) {
	a, b := open(t, p.Dialer, p.Acceptor)
	var work sync.WaitGroup
	failing := map[string]func() error{
		"accept": func() error { _, err := p.Dialer.Accept(wait(t)); return err },
		"read":   func() error { _, err := a.Read(make([]byte, 1)); return err },
		"write":  func() error { return writeUntil(t, a) },
	}
	for what, f := range failing {
		work.Go(func() { wantCode(t, what, f(), link.CodeSuperseded) })
	}
	must(t, p.Acceptor.Close(link.CodeSuperseded, "a newer one is here"))
	work.Wait()
	<-p.Dialer.Context().Done()
	cause := context.Cause(p.Dialer.Context())
	wantCode(t, "cause", cause, link.CodeSuperseded)
	var e *link.Error
	if errors.As(cause, &e) && e.Reason != "a newer one is here" {
		t.Errorf("reason %q", e.Reason)
	}
	_, err := p.Dialer.Open(wait(t))
	wantCode(t, "open", err, link.CodeSuperseded)
	_, err = b.Read(make([]byte, 1))
	want(t, "the closer's read", err, link.ErrClosed)
}

func closing(t *testing.T, p Pair) {
	a, _ := open(t, p.Dialer, p.Acceptor)
	var work sync.WaitGroup
	work.Go(func() {
		_, err := p.Dialer.Accept(wait(t))
		want(t, "accept", err, link.ErrClosed)
	})
	work.Go(func() {
		_, err := a.Read(make([]byte, 1))
		want(t, "read", err, link.ErrClosed)
	})
	must(t, p.Dialer.Close(link.CodeOK, ""))
	must(t, p.Dialer.Close(link.CodeInternal, "again"))
	work.Wait()
	want(t, "cause", context.Cause(p.Dialer.Context()), link.ErrClosed)
	_, err := p.Dialer.Open(wait(t))
	want(t, "open", err, link.ErrClosed)
	<-p.Acceptor.Context().Done()
	wantCode(t, "the peer's cause", context.Cause(p.Acceptor.Context()), link.CodeOK)
}

func large(t *testing.T, p Pair) {
	a, b := open(t, p.Dialer, p.Acceptor)
	data := make([]byte, 1<<20)
	for i := range data {
		data[i] = byte(i * i >> 8)
	}
	var work sync.WaitGroup
	work.Go(func() {
		if _, err := a.Write(data); err != nil {
			t.Error(err)
		}
		if err := a.CloseWrite(); err != nil {
			t.Error(err)
		}
	})
	got, err := io.ReadAll(b)
	work.Wait()
	if err != nil || sha256.Sum256(got) != sha256.Sum256(data) {
		t.Errorf("%d bytes of %d, %v", len(got), len(data), err)
	}
}

func many(t *testing.T, p Pair) {
	const streams = 300
	var work sync.WaitGroup
	work.Go(func() {
		for range streams {
			s, err := p.Acceptor.Accept(wait(t))
			if err != nil {
				t.Error(err)
				return
			}
			work.Go(func() {
				if _, err := io.Copy(s, s); err != nil {
					t.Error(err)
				}
				_ = s.Close() // the other side sees whether it came
			})
		}
	})
	for i := range streams {
		s, err := p.Dialer.Open(wait(t))
		must(t, err)
		work.Go(func() {
			line := bytes.Repeat([]byte{byte(i)}, 1000)
			_, werr := s.Write(line)
			cerr := s.CloseWrite()
			got, rerr := io.ReadAll(s)
			if err := errors.Join(werr, cerr, rerr); err != nil || !bytes.Equal(got, line) {
				t.Errorf("stream %d: %d bytes, %v", i, len(got), err)
			}
		})
	}
	work.Wait()
}

// limit opens streams until Open waits; there must be a limit, and a stream that ends
// makes room.
func limit(t *testing.T, p Pair) {
	const most = 5000
	var opened []link.Stream
	for len(opened) < most {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		s, err := p.Dialer.Open(ctx)
		cancel()
		if err != nil {
			want(t, "open one too many", err, context.DeadlineExceeded)
			break
		}
		opened = append(opened, s)
	}
	if len(opened) == 0 || len(opened) == most {
		t.Fatalf("%d streams", len(opened))
	}
	opened[0].Reset(link.CodeCanceled)
	// The peer takes streams and lets them go, or the slot would never come back.
	s, err := p.Acceptor.Accept(wait(t))
	must(t, err)
	s.Reset(link.CodeCanceled)
	s, err = p.Dialer.Open(wait(t))
	must(t, err)
	s.Reset(link.CodeCanceled)
}
