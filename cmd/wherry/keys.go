package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
)

func newKeys(f cmdutil.Factory, streams genericiooptions.IOStreams) *cobra.Command {
	keys := &cobra.Command{Use: "keys", Short: "Rotate the cluster's keys, while it runs"}
	keys.AddCommand(&cobra.Command{
		Use: "rotate tokens|secrets", Short: "Make a new key and use it from now on",
		Long: "Make a new key and use it from now on.\n\n" +
			"tokens: new service-account tokens are signed with it. Tokens that were made before stay good.\n" +
			"secrets: it encrypts Secrets, and what else the server was told to encrypt, at rest; all of them are written anew.\n\n" +
			"Older keys stay in the server's data directory: snapshots may need them.",
		Args: cobra.ExactArgs(1), ValidArgs: []string{"tokens", "secrets"},
		RunE: func(c *cobra.Command, args []string) error {
			if err := cobra.OnlyValidArgs(c, args); err != nil {
				return err
			}
			client, _, err := clients(f)
			if err != nil {
				return err
			}
			told, err := client.CoreV1().RESTClient().Post().AbsPath("/wherry/keys/" + args[0] + "/rotate").DoRaw(c.Context())
			if err != nil {
				return fmt.Errorf("rotating the keys: %w", err)
			}
			_, err = streams.Out.Write(told)
			return err
		},
	})
	return keys
}
