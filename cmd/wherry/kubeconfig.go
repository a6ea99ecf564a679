package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/tools/clientcmd"

	"wherry/orchestrator/pki"
)

func newKubeconfig(streams genericiooptions.IOStreams) *cobra.Command {
	var dataDir, user, server string
	var groups []string
	c := &cobra.Command{
		Use: "kubeconfig", Short: "Print a kubeconfig, made with the CA of this machine's control plane", Args: cobra.NoArgs,
		Example: "  wherry kubeconfig --data-dir /var/lib/wherry --user jane --group developers > jane.kubeconfig",
		RunE: func(c *cobra.Command, args []string) error {
			admin, err := clientcmd.LoadFromFile(filepath.Join(dataDir, "admin.kubeconfig"))
			if err != nil {
				return fmt.Errorf("reading the administrator's kubeconfig: %w; is --data-dir the one of a server?", err)
			}
			if server == "" {
				server = admin.Clusters[admin.Contexts[admin.CurrentContext].Cluster].Server
			}
			dir := filepath.Join(dataDir, "pki")
			if _, err := os.Stat(filepath.Join(dir, "ca.key")); errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("there is no CA in %s: give a server's --data-dir", dir)
			}
			authority, err := pki.Open(dir, pki.Options{})
			if err != nil {
				return fmt.Errorf("opening the CA: %w", err)
			}
			made, err := authority.Kubeconfig(server, user, groups...)
			if err != nil {
				return err
			}
			_, err = streams.Out.Write(made)
			return err
		},
	}
	c.Flags().StringVar(&dataDir, "data-dir", "wherry-data", "the server's data directory")
	c.Flags().StringVar(&user, "user", "admin", "the user's name")
	c.Flags().StringSliceVar(&groups, "group", []string{"system:masters"}, "groups of the user")
	c.Flags().StringVar(&server, "url", "", "the server's URL; by default as in admin.kubeconfig")
	return c
}
