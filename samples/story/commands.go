package story

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// What the stories can do beside running programs. Whatever waits gives up after patience.
const (
	patience = 60 * time.Second
	pause    = 100 * time.Millisecond // between two attempts
	request  = 3 * time.Second        // for one attempt over the network
)

var commands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"start":      start,
	"await":      await,
	"crash":      crash,
	"interrupt":  interrupt,
	"eventually": eventually,
	"get":        get,
	"udp":        udp,
	"occupy":     occupy,
	"release":    release,
	"disk":       disk,
	"fill":       fill,
	"clear":      empty,
	"bytes":      bytes,
	"keep":       keep,
	"newer":      newer,
	"csr":        csr,
}

// start NAME PROGRAM ARGS...: runs one of our commands, or kubectl, in the background.
func start(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) >= 2, "start NAME PROGRAM ARGS...")
	path, err := find(ts, args[1])
	ts.Check(err)
	env := os.Environ()
	for _, name := range []string{"PATH", "HOME", "KUBECONFIG"} {
		env = append(env, name+"="+ts.Getenv(name))
	}
	ts.Check(of(ts).start(args[0], env, path, args[2:]...))
}

// find looks a program up on the story's PATH.
func find(ts *testscript.TestScript, program string) (string, error) {
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w", program, exec.ErrNotFound)
}

// await NAME REGEXP: waits until a program has printed a line. Named groups of the
// expression become variables.
func await(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 2, "await NAME REGEXP")
	s, re := of(ts), regexp.MustCompile("(?m)"+args[1])
	p, err := s.process(args[0])
	ts.Check(err)
	retry(ts, func() error {
		running := p.running()
		out, err := os.ReadFile(s.file(p.name + ".out"))
		if err != nil {
			return err
		}
		if match := re.FindSubmatch(out); match != nil {
			for i, name := range re.SubexpNames()[1:] {
				ts.Setenv(name, string(match[i+1]))
			}
			return nil
		}
		if !running {
			ts.Fatalf("%s has ended (%v)", p.name, p.err)
		}
		return fmt.Errorf("%s has not printed %s, but\n%s", p.name, re, out)
	})
}

// crash NAME: kills a program as a power cut would.
func crash(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 1, "crash NAME")
	p, err := of(ts).process(args[0])
	ts.Check(err)
	ts.Check(p.crash())
}

// interrupt NAME: interrupts a program, which must end well.
func interrupt(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 1, "interrupt NAME")
	p, err := of(ts).process(args[0])
	ts.Check(err)
	ts.Check(p.interrupt())
}

// eventually REGEXP PROGRAM ARGS...: repeats a program until it succeeds and its output
// matches. Stdout is that of the last time.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) >= 2, "eventually REGEXP PROGRAM ARGS...")
	re := regexp.MustCompile("(?m)" + args[0])
	retry(ts, func() error {
		if err := ts.Exec(args[1], args[2:]...); err != nil {
			return err
		}
		if !re.MatchString(ts.ReadFile("stdout")) {
			return fmt.Errorf("the output does not match %s", re)
		}
		return nil
	})
}

// get [-distinct=N] URL REGEXP: asks, each time over a new connection, until the answer
// matches; with -distinct until that many different answers have come. ! get URL asks until
// nobody listens.
func get(ts *testscript.TestScript, neg bool, args []string) {
	wanted := 1
	if n, ok := strings.CutPrefix(args[0], "-distinct="); ok {
		var err error
		wanted, err = strconv.Atoi(n)
		ts.Check(err)
		args = args[1:]
	}
	if neg {
		need(ts, len(args) == 1, "! get URL")
		retry(ts, func() error { return refused(args[0]) })
		return
	}
	need(ts, len(args) == 2, "get [-distinct=N] URL REGEXP")
	re, seen := regexp.MustCompile(args[1]), map[string]bool{}
	retry(ts, func() error {
		for range 2 * wanted {
			body, err := answer(args[0])
			if err != nil {
				return err
			}
			if !re.MatchString(body) {
				return fmt.Errorf("the answer does not match %s: %q", re, body)
			}
			seen[body] = true
		}
		if len(seen) < wanted {
			return fmt.Errorf("%d different answers: %v", len(seen), seen)
		}
		return nil
	})
}

func answer(url string) (string, error) {
	c := http.Client{Timeout: request, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := c.Get(url)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", r.Status, body)
	}
	return string(body), err
}

func refused(url string) error {
	var op *net.OpError
	body, err := answer(url)
	if errors.As(err, &op) && op.Op == "dial" {
		return nil
	}
	return fmt.Errorf("somebody listens: %q, %w", body, err)
}

// udp HOST:PORT TEXT: sends a packet until it comes back.
func udp(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 2, "udp HOST:PORT TEXT")
	retry(ts, func() error { return echo(args[0], args[1]) })
}

func echo(address, text string) error {
	c, err := net.Dial("udp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(request)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	n, err := c.Read(buf)
	if err != nil {
		return err
	}
	if got := string(buf[:n]); got != text {
		return fmt.Errorf("sent %q, got %q", text, got)
	}
	return nil
}

// occupy HOST:PORT: listens there, so that nobody else can, until release HOST:PORT.
func occupy(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 1, "occupy HOST:PORT")
	l, err := net.Listen("tcp", args[0])
	ts.Check(err)
	s := of(ts)
	if s.held == nil {
		s.held = map[string]io.Closer{}
	}
	s.held[args[0]] = l
}

func release(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 1 && of(ts).held[args[0]] != nil, "release HOST:PORT, which is occupied")
	ts.Check(of(ts).held[args[0]].Close())
	delete(of(ts).held, args[0])
}

// disk DIR MEGABYTES: makes a file system of that size for the story.
func disk(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 2, "disk DIR MEGABYTES")
	size, err := strconv.Atoi(args[1])
	ts.Check(err)
	dir := ts.MkAbs(args[0])
	ts.Check(os.Mkdir(dir, 0o700))
	ts.Check(mount(dir, size<<20))
	ts.Defer(func() { ts.Check(unmount(dir)) })
}

// fill DIR: takes all the space that is left on a disk, until clear DIR.
func fill(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 1, "fill DIR")
	f, err := os.Create(filepath.Join(ts.MkAbs(args[0]), filler))
	ts.Check(err)
	defer f.Close() // that nothing more fits is what it is for
	for block := make([]byte, 4<<10); err == nil; {
		_, err = f.Write(block)
	}
	if !isFull(err) {
		ts.Fatalf("filling %s: %v", args[0], err)
	}
}

func empty(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 1, "clear DIR, which is filled")
	ts.Check(os.Remove(filepath.Join(ts.MkAbs(args[0]), filler)))
}

const filler = "filler"

// bytes FILE HEX...: writes a file that is no text.
func bytes(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) >= 2, "bytes FILE HEX...")
	data, err := hex.DecodeString(strings.Join(args[1:], ""))
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o600))
}

// keep VARIABLE: sets a variable to the stdout of the last program.
func keep(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 1, "keep VARIABLE")
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
}

// newer A B: resource version A is later than B.
func newer(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 2, "newer A B")
	a, err := strconv.ParseUint(args[0], 10, 64)
	ts.Check(err)
	b, err := strconv.ParseUint(args[1], 10, 64)
	ts.Check(err)
	if a <= b {
		ts.Fatalf("%d is not newer than %d", a, b)
	}
}

// retry repeats what fails.
func retry(ts *testscript.TestScript, try func() error) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			ts.Fatalf("gave up after %s: %v", patience, err)
		}
	}
}

func need(ts *testscript.TestScript, ok bool, usage string) {
	if !ok {
		ts.Fatalf("usage: %s", usage)
	}
}
