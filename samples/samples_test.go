// Package samples_test tells the stories in testdata: what a user does, from outside, with
// the built commands and the unmodified kubectl.
package samples_test

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"

	"wherry/samples/story"
)

// TestMain makes the test binary kubectl too: scripts run it as a process of its own.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"kubectl": kubectl})
}

func kubectl() {
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err)
	}
}

func TestStories(t *testing.T) { story.Run(t, "..") }
