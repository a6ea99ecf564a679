// Wherry-agent is the node agent alone, for gateways: no control plane is linked in.
package main

import (
	"os"

	"wherry/cmd/internal/agent"
	"wherry/cmd/internal/daemon"
	"wherry/cmd/internal/version"
	"wherry/nodeagent/runtime/wasmprocess"
)

func main() {
	if code, ours := wasmprocess.Main(os.Args); ours {
		os.Exit(code)
	}
	c := agent.New()
	c.Use, c.Version = "wherry-agent", version.Wherry
	os.Exit(daemon.Main(c))
}
