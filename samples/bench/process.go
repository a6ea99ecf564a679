package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// process is a command that is ready.
type process struct {
	cmd    *exec.Cmd
	dir    string
	bin    string
	url    string        // of the API
	ready  time.Duration // from the start to the line that says so
	cancel context.CancelFunc
	ended  chan error
}

// start starts a command with a data directory of its own. One that serves an API is waited for.
func (b *bench) start(ctx context.Context, name, command string, args ...string) (*process, error) {
	ctx, cancel := context.WithCancel(ctx)
	p := &process{dir: filepath.Join(b.dir, name), bin: b.bin, cancel: cancel, ended: make(chan error, 1)}
	p.cmd = exec.CommandContext(ctx, filepath.Join(b.bin, command), append(args, "--data-dir", p.dir, "--log-level", "error")...)
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(os.Interrupt) }
	p.cmd.WaitDelay = 20 * time.Second
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		cancel()
		return nil, err
	}
	begun := time.Now()
	if err := p.cmd.Start(); err != nil {
		cancel()
		return nil, fmt.Errorf("starting %s: %w; `make build guests` builds it", command, err)
	}
	if command == "wherryd" {
		p.url, err = await(bufio.NewScanner(out))
		p.ready = time.Since(begun)
	}
	go func() { p.ended <- p.cmd.Wait() }()
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("%s: %w", command, err)
	}
	return p, nil
}

// await reads up to the line that says that the API is ready.
func await(lines *bufio.Scanner) (url string, err error) {
	for lines.Scan() {
		if words := strings.Fields(lines.Text()); len(words) > 1 && words[0] == "ready:" {
			return words[1], nil
		}
	}
	return "", errors.Join(errors.New("it ended before it was ready"), lines.Err())
}

// stop ends the command. What it says at its end is no concern of a benchmark.
func (p *process) stop() {
	p.cancel()
	<-p.ended
}

func (p *process) kubeconfig() string { return filepath.Join(p.dir, "admin.kubeconfig") }

// wherry runs the command line against the process, and returns what it prints.
func (p *process) wherry(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, "wherry"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+p.kubeconfig())
	var out, text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &text
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("wherry %s: %w: %s", args[0], err, text.Bytes())
	}
	return strings.TrimSpace(out.String()), nil
}

// api is a client of a process.
type api struct {
	*process
	kubernetes.Interface
}

// client makes a client with connections of its own and no limit of requests.
func (p *process) client() (*api, error) {
	config, err := clientcmd.BuildConfigFromFlags("", p.kubeconfig())
	if err != nil {
		return nil, err
	}
	config.QPS, config.ContentType = -1, "application/vnd.kubernetes.protobuf"
	client, err := kubernetes.NewForConfig(config)
	return &api{p, client}, err
}

// memory measures a server alone and a separate agent, idle.
func (b *bench) memory(ctx context.Context) error {
	server, err := b.start(ctx, "server", "wherryd", "server", "--listen", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer server.stop()
	if err := idle(ctx); err != nil {
		return err
	}
	if err := b.rss("idle memory of a server", 50, server); err != nil {
		return err
	}
	token, err := server.wherry(ctx, "token", "create")
	if err != nil {
		return err
	}
	agent, err := b.start(ctx, "agent", "wherry-agent", "--server", strings.TrimPrefix(server.url, "https://"), "--token", token, "--node-name", "bench")
	if err != nil {
		return err
	}
	defer agent.stop()
	if err := idle(ctx); err != nil {
		return err
	}
	return b.rss("idle memory of a separate agent", 25, agent)
}

func idle(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(5 * time.Second):
		return nil
	}
}

// rss notes the resident memory of a process.
func (b *bench) rss(what string, aim float64, p *process) error {
	kilobytes, err := resident(p.cmd.Process.Pid)
	if err != nil {
		return fmt.Errorf("asking for memory: %w", err)
	}
	b.table.add(what, "MB", aim, kilobytes*1024/1e6)
	return nil
}

// resident asks Linux's /proc, elsewhere ps.
func resident(pid int) (kilobytes float64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		out, err := exec.Command("ps", "-o", "rss=", "-p", strconv.Itoa(pid)).Output()
		if err != nil {
			return 0, err
		}
		return strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	number, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	return strconv.ParseFloat(number, 64)
}
