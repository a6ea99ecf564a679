package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"wherry/orchestrator/pki"
)

func TestTheKubeconfigNeverHoldsACertificateThatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := pki.Open(t.TempDir(), pki.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var file atomic.Value // []byte
		var full atomic.Bool
		write := func() error {
			if full.Load() {
				return errors.New("no space left on device")
			}
			b, err := p.Kubeconfig("https://127.0.0.1:1", "admin", "system:masters")
			file.Store(b)
			return err
		}
		if err := write(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			keepWritten(ctx, slog.New(slog.DiscardHandler), write)
		}()
		check := func() {
			t.Helper()
			config, err := clientcmd.RESTConfigFromKubeConfig(file.Load().([]byte))
			if err != nil {
				t.Fatal(err)
			}
			pair, err := tls.X509KeyPair(config.CertData, config.KeyData)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: p.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
				t.Fatalf("after %v: %v", time.Now(), err)
			}
		}
		const month = 30 * 24 * time.Hour
		for range 30 {
			time.Sleep(month)
			check()
		}
		full.Store(true)
		time.Sleep(9 * month)
		full.Store(false)
		time.Sleep(2 * time.Hour)
		check()
		cancel()
		<-done
	})
}
