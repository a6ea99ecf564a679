// Package agent is the command that runs a node agent, for wherryd and wherry-agent.
package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"wherry/cmd/internal/daemon"
	"wherry/cmd/internal/version"
	"wherry/nodeagent"
	"wherry/proto/link"
)

// Flags are those of an agent.
type Flags struct {
	daemon.Flags
	Server   string
	Token    string
	NodeName string
	Labels   map[string]string
	MaxPods  int
	NodePort string
	// Welcomed is called at the beginning of each session; nil: nobody. It is no flag.
	Welcomed func()
}

// New returns the command.
func New() *cobra.Command {
	var f Flags
	c := &cobra.Command{
		Use: "agent", Short: "Start a node agent that joins a control plane", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.Complete(c); err != nil {
				return err
			}
			if f.Server == "" {
				return errors.New("--server HOST:PORT is missing: the address of a control plane")
			}
			return f.Run(c.Context())
		},
	}
	f.Add(c.Flags(), "wherry-agent-data")
	f.AddNode(c.Flags())
	c.Flags().StringVar(&f.Server, "server", "", "HOST:PORT of the control plane (UDP)")
	c.Flags().StringVar(&f.Token, "token", "", "join token of `wherry token create`; needed once. Also read from WHERRY_TOKEN")
	return c
}

// AddNode declares the flags that say what this node is.
func (f *Flags) AddNode(flags *pflag.FlagSet) {
	flags.StringVar(&f.NodeName, "node-name", hostname(), "name of this node in the cluster")
	flags.StringToStringVar(&f.Labels, "node-labels", nil, "labels of this node at its first registration")
	flags.IntVar(&f.MaxPods, "max-pods", 0, "pods that this node takes; 0: 110")
	flags.StringVar(&f.NodePort, "node-port-address", "", "address that node ports are opened on; all if empty")
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return strings.ToLower(name)
}

// Run runs the agent until ctx ends.
func (f *Flags) Run(ctx context.Context) error {
	log, err := f.Logger(os.Stderr)
	if err != nil {
		return err
	}
	if f.NodeName == "" {
		return errors.New("--node-name is missing: this machine does not know its own name")
	}
	if f.Token == "" {
		f.Token = os.Getenv("WHERRY_TOKEN")
	}
	return f.run(ctx, log)
}

func (f *Flags) run(ctx context.Context, log *slog.Logger) error {
	c := nodeagent.Config{
		NodeName: f.NodeName, DataDir: f.DataDir, Version: version.Wherry, Token: f.Token,
		Dial: f.dial, Labels: f.Labels, MaxPods: f.MaxPods, Welcomed: f.Welcomed, Processes: true, Log: log,
	}
	if f.NodePort != "" {
		var err error
		if c.Bind, err = netip.ParseAddr(f.NodePort); err != nil {
			return fmt.Errorf("--node-port-address: %w", err)
		}
	}
	a, err := nodeagent.New(c)
	if err != nil {
		return err
	}
	return a.Run(ctx)
}

// dial opens a session over a UDP socket of its own. The server's name is looked up each
// time: its address may have changed.
func (f *Flags) dial(ctx context.Context, tc *tls.Config) (link.Session, error) {
	to, err := net.ResolveUDPAddr("udp", f.Server)
	if err != nil {
		return nil, fmt.Errorf("finding the control plane: %w", err)
	}
	conn, err := net.ListenPacket("udp", ":0")
	if err != nil {
		return nil, fmt.Errorf("opening a UDP socket: %w", err)
	}
	return link.DialQUIC(ctx, conn, to, tc, link.Options{})
}
