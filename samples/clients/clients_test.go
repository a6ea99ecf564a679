// Package clients_test has the clients of others meet a cluster of the built commands: Helm, client-go,
// controller-runtime. It is a module of its own, so that what they weigh is not ours.
package clients_test

import (
	"os"
	"testing"

	"github.com/go-logr/logr"
	"github.com/rogpeppe/go-internal/testscript"
	helm "helm.sh/helm/v4/pkg/cmd"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"

	"wherry/samples/story"
)

// TestMain makes the test binary Helm too: scripts run it as a process of its own.
func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	testscript.Main(m, map[string]func(){"helm": runHelm})
}

func runHelm() {
	c, err := helm.NewRootCmd(os.Stdout, os.Args[1:], helm.SetupLogging)
	if err == nil {
		err = c.Execute()
	}
	if err != nil { // it has been told
		os.Exit(1)
	}
}

func TestStories(t *testing.T) { story.Run(t, "../..") }

// cluster starts a control plane with an agent, which ends with the test.
func cluster(t *testing.T) *rest.Config {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", story.Up(t, "../.."))
	if err != nil {
		t.Fatal(err)
	}
	config.QPS, config.Burst = 500, 500
	return config
}
