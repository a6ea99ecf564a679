package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"wherry/orchestrator"
)

func newSnapshot() *cobra.Command {
	c := &cobra.Command{Use: "snapshot", Short: "Restore a control plane from a snapshot"}
	c.AddCommand(newRestore())
	return c
}

func newRestore() *cobra.Command {
	var dataDir string
	c := &cobra.Command{
		Use: "restore FILE", Short: "Put a snapshot into the data directory of a control plane that does not run", Args: cobra.ExactArgs(1),
		Long: "Put a snapshot into the data directory of a control plane that does not run.\n\n" +
			"The directory may be a new one. What it holds is kept in it, as replaced-TIME.\n" +
			"Watches that have seen what came after the snapshot begin anew (410 Gone).",
		RunE: func(c *cobra.Command, args []string) error {
			m, err := orchestrator.Restore(args[0], dataDir)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "restored cluster %s as of %s, revision %d\n", m.Cluster, m.Created.Format(time.RFC3339), m.Revision)
			return nil
		},
	}
	c.Flags().StringVar(&dataDir, "data-dir", "wherry-data", "the control plane's data directory")
	return c
}
