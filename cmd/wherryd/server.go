package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"wherry/cmd/internal/daemon"
	"wherry/cmd/internal/version"
	"wherry/orchestrator"
)

// serverFlags are those of a control plane.
type serverFlags struct {
	daemon.Flags
	listen        string
	hosts         []string
	serviceCIDR   string
	podCIDR       string
	profiling     bool
	audit         auditFlags
	snapshotEvery time.Duration
	snapshotKeep  int
	apiOnly       bool
	encrypt       []string
	auth          authFlags
}

func (f *serverFlags) add(flags *pflag.FlagSet, listen string) {
	f.Flags.Add(flags, "wherry-data")
	flags.StringVar(&f.listen, "listen", listen, "HOST:PORT of the API over TCP, and of nodes over UDP; port 0 picks one")
	flags.StringSliceVar(&f.hosts, "host", nil, "further names and addresses that the server is reached by")
	flags.StringVar(&f.serviceCIDR, "service-cidr", "10.43.0.0/16", "addresses of Services")
	flags.StringVar(&f.podCIDR, "pod-cidr", "10.42.0.0/16", "addresses of pods; each node gets a block of it")
	f.audit.add(flags)
	flags.BoolVar(&f.profiling, "profiling", true, "serve profiles of this program at /debug/pprof, to who is allowed to get them")
	flags.DurationVar(&f.snapshotEvery, "snapshot-every", 12*time.Hour, "how often a snapshot is made in DIR/snapshots; 0: never")
	flags.IntVar(&f.snapshotKeep, "snapshot-keep", 5, "how many snapshots are kept there")
	flags.StringSliceVar(&f.encrypt, "encrypt", []string{"secrets"}, "resources whose objects are encrypted in the data directory, as in secrets,configmaps,widgets.example.com; * for all")
	f.auth.add(flags)
}

func newServer() *cobra.Command {
	var f serverFlags
	c := &cobra.Command{
		Use: "server", Short: "Start a control plane", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.Complete(c); err != nil {
				return err
			}
			log, err := f.Logger(os.Stderr)
			if err != nil {
				return err
			}
			s, err := f.open(c.Context(), log)
			if err != nil {
				return err
			}
			return s.Run(c.Context(), func() { announce(s) })
		},
	}
	f.add(c.Flags(), "0.0.0.0:6443")
	c.Flags().BoolVar(&f.apiOnly, "api-only", false, "serve the API without controllers and scheduler, as tests of operators want it")
	return c
}

// server is a control plane with its kubeconfig written.
type server struct {
	*orchestrator.Orchestrator
	url     string
	log     *slog.Logger
	dataDir string
	started time.Time
}

func (f *serverFlags) open(ctx context.Context, log *slog.Logger) (*server, error) {
	started := time.Now()
	c := orchestrator.Config{
		DataDir: f.DataDir, Hosts: f.hosts, Issuers: f.auth.issuers, Encrypt: f.encrypt, APIOnly: f.apiOnly,
		Version: version.Wherry, Logger: log, NoProfiling: !f.profiling,
		AuditLog: f.audit.path, AuditPolicy: f.audit.policy, AuditMaxBytes: int64(f.audit.maxSize) << 20, AuditMaxFiles: f.audit.maxBackup,
		SnapshotEvery: f.snapshotEvery, SnapshotKeep: f.snapshotKeep,
	}
	var err error
	if c.ServiceCIDR, err = netip.ParsePrefix(f.serviceCIDR); err != nil {
		return nil, fmt.Errorf("--service-cidr: %w", err)
	}
	if c.PodCIDR, err = netip.ParsePrefix(f.podCIDR); err != nil {
		return nil, fmt.Errorf("--pod-cidr: %w", err)
	}
	if c.OIDC, err = f.auth.config(); err != nil {
		return nil, err
	}
	if c.Listener, c.PacketConn, err = listen(f.listen); err != nil {
		return nil, err
	}
	o, err := orchestrator.New(ctx, c)
	if err != nil {
		return nil, errors.Join(err, c.Listener.Close(), c.PacketConn.Close())
	}
	s := &server{Orchestrator: o, log: log, dataDir: f.DataDir, url: "https://" + reachable(c.Listener.Addr().String()), started: started}
	return s, s.writeKubeconfig()
}

// listen opens one port number for TCP and UDP.
func listen(address string) (net.Listener, net.PacketConn, error) {
	const attempts = 20 // a free TCP port may be taken for UDP
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, nil, fmt.Errorf("--listen: %w; it looks like 127.0.0.1:6443", err)
	}
	for range attempts {
		tcp, tcpErr := net.Listen("tcp", address)
		if tcpErr != nil {
			return nil, nil, fmt.Errorf("--listen: %w", tcpErr)
		}
		picked := tcp.Addr().(*net.TCPAddr).Port
		udp, udpErr := net.ListenPacket("udp", net.JoinHostPort(host, strconv.Itoa(picked)))
		if udpErr == nil {
			return tcp, udp, nil
		}
		if err = errors.Join(udpErr, tcp.Close()); port != "0" {
			break
		}
	}
	return nil, nil, fmt.Errorf("--listen: %w", err)
}

// reachable is an address that a client on this machine can use.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if ip, parseErr := netip.ParseAddr(host); err == nil && parseErr == nil && ip.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return address
}

// writeKubeconfig writes the administrator's kubeconfig, anew at each start: the port may
// have changed, and its certificate lives a year.
func (s *server) writeKubeconfig() error {
	data, err := s.AdminKubeconfig(s.url)
	if err != nil {
		return err
	}
	path := filepath.Join(s.dataDir, "admin.kubeconfig")
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return fmt.Errorf("writing the kubeconfig: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("writing the kubeconfig: %w", err)
	}
	return nil
}

// announce prints the line that scripts wait for.
func announce(s *server) {
	fmt.Printf("ready: %s (%d ms)\n", s.url, time.Since(s.started).Milliseconds())
}
