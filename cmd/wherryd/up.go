package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"wherry/cmd/internal/agent"
)

func newUp() *cobra.Command {
	var f serverFlags
	var a agent.Flags
	c := &cobra.Command{
		Use: "up", Short: "Start a one-machine cluster: control plane and agent in one process", Args: cobra.NoArgs,
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
			group, ctx := errgroup.WithContext(c.Context())
			up := make(chan struct{})
			group.Go(func() error { return s.Run(ctx, func() { close(up) }) })
			group.Go(func() error {
				select {
				case <-up:
				case <-ctx.Done():
					return nil
				}
				return runAgent(ctx, s, f, a)
			})
			return group.Wait()
		},
	}
	f.add(c.Flags(), "127.0.0.1:6443")
	a.AddNode(c.Flags())
	return c
}

// runAgent joins an agent of this process to the control plane of this process, over a
// real session on loopback, and announces the cluster when its node is ready.
func runAgent(ctx context.Context, s *server, f serverFlags, a agent.Flags) error {
	token, err := s.JoinToken(ctx, "the agent of `wherry up`")
	if err != nil {
		return fmt.Errorf("making a token for the agent: %w", err)
	}
	a.Flags = f.Flags
	a.DataDir = filepath.Join(f.DataDir, "agent")
	if _, err := os.Stat(a.DataDir); errors.Is(err, fs.ErrNotExist) {
		// A node of this name is one that was here when the state was: it has been restored into a new directory.
		if err := s.ReleaseNode(ctx, a.NodeName); err != nil {
			return err
		}
	}
	a.Token = token.String()
	_, port, err := net.SplitHostPort(s.Address().String())
	if err != nil {
		return err
	}
	a.Server = net.JoinHostPort(loopback(s.Address()), port)
	var once sync.Once
	welcomed := make(chan struct{})
	a.Welcomed = func() { once.Do(func() { close(welcomed) }) }
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.Run(ctx) })
	group.Go(func() error {
		select { // what the state says of the node may be of an earlier run
		case <-welcomed:
		case <-ctx.Done():
			return nil
		}
		if err := s.NodeReady(ctx, a.NodeName); err != nil {
			return nil // it ends before it was ready: the agent says why
		}
		announce(s)
		return nil
	})
	return group.Wait()
}

// loopback is where the agent of the same machine reaches the listener.
func loopback(a net.Addr) string {
	host, _, err := net.SplitHostPort(reachable(a.String()))
	if err != nil {
		return "127.0.0.1"
	}
	return host
}
