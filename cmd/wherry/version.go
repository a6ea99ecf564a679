package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"wherry/cmd/internal/version"
)

func newVersion(f cmdutil.Factory, streams genericiooptions.IOStreams) *cobra.Command {
	var clientOnly bool
	c := &cobra.Command{
		Use: "version", Short: "Print the version of this command and of the server", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, args []string) error {
			fmt.Fprintln(streams.Out, "Wherry:", version.Wherry)
			if clientOnly {
				return nil
			}
			client, err := f.ToDiscoveryClient()
			if err != nil {
				return err
			}
			server, err := client.ServerVersion()
			if err != nil {
				return fmt.Errorf("asking the server: %w", err)
			}
			fmt.Fprintln(streams.Out, "Server:", server.GitVersion)
			return nil
		},
	}
	c.Flags().BoolVar(&clientOnly, "client", false, "do not ask the server")
	return c
}
