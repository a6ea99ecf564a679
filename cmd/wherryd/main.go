// Wherryd is the long-running half of the command: `up`, `server` and `agent`, and `snapshot restore`. It is the
// only program in which control plane and agent meet.
package main

import (
	"os"

	"github.com/spf13/cobra"

	"wherry/cmd/internal/agent"
	"wherry/cmd/internal/daemon"
	"wherry/cmd/internal/version"
	"wherry/nodeagent/runtime/wasmprocess"
)

func main() {
	if code, ours := wasmprocess.Main(os.Args); ours {
		os.Exit(code)
	}
	root := &cobra.Command{Use: "wherryd", Short: "Wherry's control plane and node agent", Version: version.Wherry}
	root.AddCommand(newUp(), newServer(), agent.New(), newSnapshot())
	os.Exit(daemon.Main(root))
}
