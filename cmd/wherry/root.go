package main

import (
	"os"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/plugin"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"wherry/cmd/internal/sandbox"
)

// newRoot is kubectl's whole command, under our name, with our verbs beside its own.
func newRoot() *cobra.Command {
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	flags := genericclioptions.NewConfigFlags(true).WithDiscoveryBurst(300).WithDiscoveryQPS(50).WithWarningPrinter(streams)
	root := cmd.NewDefaultKubectlCommandWithArgs(cmd.KubectlOptions{
		PluginHandler: cmd.NewDefaultPluginHandler(plugin.ValidPluginFilenamePrefixes),
		Arguments:     os.Args, ConfigFlags: flags, IOStreams: streams,
	})
	root.Use = "wherry"
	root.Short = "Wherry runs WebAssembly pods, the Kubernetes way"
	root.Long = "Wherry runs WebAssembly pods, the Kubernetes way.\n\nTo begin: wherry up"
	for _, c := range root.Commands() {
		if c.Name() == "version" {
			root.RemoveCommand(c) // it would tell the version of the library
		}
	}
	factory := cmdutil.NewFactory(flags)
	root.AddCommand(
		daemon("up", "Start a one-machine cluster in this terminal"),
		daemon("server", "Start a control plane"),
		daemon("agent", "Start a node agent that joins a control plane"),
		newToken(factory, streams),
		newKeys(factory, streams),
		newPush(factory, streams),
		newSnapshot(factory, streams),
		newKubeconfig(streams),
		newVersion(factory, streams),
		sandbox.New(sandbox.Streams{In: streams.In, Out: streams.Out, Err: streams.ErrOut}),
	)
	return root
}
