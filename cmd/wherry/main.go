// Wherry is the command: kubectl's verbs and our own. The long-running ones (up, server,
// agent) it hands to wherryd beside it, which does not link kubectl.
package main

import (
	"os"

	"k8s.io/component-base/cli"
)

func main() {
	if err := cli.RunNoErrOutput(newRoot()); err != nil {
		os.Exit(report(err))
	}
}
