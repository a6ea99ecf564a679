package oracle

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

// patience is how long a server may take until it is ready.
const patience = 2 * time.Minute

// serviceCIDR is where both servers take cluster IPs from.
const serviceCIDR = "10.43.0.0/16"

// Server is one of the two.
type Server struct {
	Name   string
	URL    string
	client *http.Client
	names  *names
	end    func() error
}

// Close ends the server's process and waits for it.
func (s *Server) Close() error { return s.end() }

// roleVariable makes the test binary, started anew, kube-apiserver.
const roleVariable = "ORACLE_KUBE_APISERVER"

// adminToken belongs to the administrator of a server that lives for one test, on loopback.
const adminToken = "oracle"

// Role runs what this process was started for by startTheirs; false: nothing, it is the test itself.
func Role() (bool, error) {
	dir := os.Getenv(roleVariable)
	if dir == "" {
		return false, nil
	}
	return true, kubeAPIServer(dir)
}

// kubeAPIServer runs etcd and kube-apiserver in this process until it is interrupted. dir
// holds a file `port` and a file `tokens`.
func kubeAPIServer(dir string) error {
	port, err := os.ReadFile(filepath.Join(dir, "port"))
	if err != nil {
		return err
	}
	etcd, err := startEtcd(filepath.Join(dir, "etcd"))
	if err != nil {
		return fmt.Errorf("starting etcd: %w", err)
	}
	defer etcd.Close()
	command := app.NewAPIServerCommand()
	command.SetArgs([]string{
		"--etcd-servers=http://" + etcd.Clients[0].Addr().String(),
		"--cert-dir=" + dir, "--bind-address=127.0.0.1", "--secure-port=" + string(port),
		"--token-auth-file=" + filepath.Join(dir, "tokens"), "--authorization-mode=Node,RBAC",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-cluster-ip-range=" + serviceCIDR,
		"--service-account-signing-key-file=" + filepath.Join(dir, "accounts.key"),
		"--service-account-key-file=" + filepath.Join(dir, "accounts.key"),
		"--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
	})
	return command.Execute()
}

func startEtcd(dir string) (*embed.Etcd, error) {
	c := embed.NewConfig()
	local := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	c.Dir, c.LogLevel, c.UnsafeNoFsync = dir, "error", true
	c.ListenClientUrls, c.ListenPeerUrls = local, local
	etcd, err := embed.StartEtcd(c)
	if err != nil {
		return nil, err
	}
	select {
	case <-etcd.Server.ReadyNotify():
		return etcd, nil
	case err := <-etcd.Err():
		return nil, err
	case <-time.After(patience):
		etcd.Close()
		return nil, errors.New("it does not become ready")
	}
}

// startTheirs starts kube-apiserver in a process of its own, below dir.
func startTheirs(ctx context.Context, dir string) (*Server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	key, err := signingKey()
	if err != nil {
		return nil, err
	}
	for name, content := range map[string]string{
		"port": strconv.Itoa(port), "tokens": adminToken + ",admin,admin,system:masters\n", "accounts.key": key,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return nil, err
		}
	}
	program := filepath.Join(dir, "kube-apiserver") // its name is that of the manager of what it makes
	self, err := os.Executable()
	if err == nil {
		err = os.Symlink(self, program)
	}
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), roleVariable+"="+dir)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = log, log
	p, err := startProcess(cmd)
	if err != nil {
		return nil, err
	}
	s := &Server{Name: "kube-apiserver", URL: "https://127.0.0.1:" + strconv.Itoa(port), names: newNames(), end: p.end}
	s.client, err = httpClient(&rest.Config{Host: s.URL, BearerToken: adminToken, TLSClientConfig: rest.TLSClientConfig{Insecure: true}})
	if err == nil {
		err = s.ready(ctx, p)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting kube-apiserver, see %s: %w", log.Name(), err), p.end())
	}
	return s, nil
}

var readyLine = regexp.MustCompile(`^ready: (https://\S+)`)

// startOurs builds wherryd from the module around this one and starts its API below dir.
func startOurs(ctx context.Context, dir string) (*Server, error) {
	program := filepath.Join(dir, "wherryd")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "./cmd/wherryd")
	build.Dir, build.Stderr = filepath.Join("..", "..", ".."), os.Stderr
	if err := build.Run(); err != nil {
		return nil, fmt.Errorf("building wherryd: %w", err)
	}
	cmd := exec.Command(program, "server", "--api-only", "--data-dir", filepath.Join(dir, "data"), "--listen", "127.0.0.1:0", "--service-cidr", serviceCIDR)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p, err := startProcess(cmd)
	if err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	ready := readyLine.FindStringSubmatch(line)
	if err != nil || ready == nil {
		return nil, errors.Join(fmt.Errorf("starting wherryd, see %s: it said %q: %w", log.Name(), line, err), p.end())
	}
	s := &Server{Name: "wherry", URL: ready[1], names: newNames(), end: p.end}
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dir, "data", "admin.kubeconfig"))
	if err == nil {
		s.client, err = httpClient(config)
	}
	if err == nil {
		err = s.ready(ctx, p)
	}
	if err != nil {
		return nil, errors.Join(err, p.end())
	}
	return s, nil
}

func httpClient(c *rest.Config) (*http.Client, error) {
	tc, err := rest.TLSConfigFor(c)
	if err != nil {
		return nil, err
	}
	transport, err := rest.HTTPWrappersForConfig(c, &http.Transport{TLSClientConfig: tc, ForceAttemptHTTP2: true, DisableCompression: true})
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, err
}

// ready waits until /readyz says so.
func (s *Server) ready(ctx context.Context, p *process) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		a, err := s.Do(ctx, Request{Method: "GET", Path: "/readyz"})
		if err == nil && a.Status == http.StatusOK {
			return nil
		}
		select {
		case err := <-p.ended:
			p.ended <- err
			return fmt.Errorf("it has ended: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("it does not become ready: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// process is a command that runs.
type process struct {
	cmd   *exec.Cmd
	ended chan error
}

func startProcess(cmd *exec.Cmd) (*process, error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, ended: make(chan error, 1)}
	go func() { p.ended <- cmd.Wait() }()
	return p, nil
}

// end interrupts the process, and kills it when it does not end.
func (p *process) end() error {
	const grace = 20 * time.Second
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.ended:
		return nil
	case <-time.After(grace):
		err := p.cmd.Process.Kill()
		<-p.ended
		return errors.Join(fmt.Errorf("%s did not end", strings.Join(p.cmd.Args, " ")), err)
	}
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// Start starts both servers below dir.
func Start(ctx context.Context, dir string, accepted Accepted) (*Pair, error) {
	for _, name := range []string{"theirs", "ours"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			return nil, err
		}
	}
	ours, err := startOurs(ctx, filepath.Join(dir, "ours"))
	if err != nil {
		return nil, err
	}
	theirs, err := startTheirs(ctx, filepath.Join(dir, "theirs"))
	if err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	return &Pair{Theirs: theirs, Ours: ours, Ledger: newLedger(accepted)}, nil
}
