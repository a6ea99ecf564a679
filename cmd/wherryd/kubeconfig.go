package main

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"wherry/orchestrator/pki"
)

// Run runs the control plane, and writes the administrator's kubeconfig anew before its certificate ends.
func (s *server) Run(ctx context.Context, ready func()) error {
	group, ctx := errgroup.WithContext(ctx)
	ctx, cancel := context.WithCancel(ctx)
	group.Go(func() error {
		defer cancel()
		return s.Orchestrator.Run(ctx, ready)
	})
	group.Go(func() error {
		keepWritten(ctx, s.log, s.writeKubeconfig)
		return nil
	})
	return group.Wait()
}

// The kubeconfig is written after two thirds of its certificate's life, and what cannot be written is tried again.
const (
	writeEvery = pki.ClientLife * 2 / 3
	writeAgain = time.Hour
)

// keepWritten writes whenever it is time, until ctx ends. It was written just now.
func keepWritten(ctx context.Context, log *slog.Logger, write func() error) {
	timer := time.NewTimer(writeEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if err := write(); err != nil {
			log.Error("the administrator's kubeconfig has a certificate that ends soon, and cannot be written anew", "error", err)
			timer.Reset(writeAgain)
			continue
		}
		log.Info("the administrator's kubeconfig is written anew")
		timer.Reset(writeEvery)
	}
}
