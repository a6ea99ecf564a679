// Package nodeagent is the machine's half of Wherry: New(Config), Run(ctx). This file's neighbours wire the parts and
// know all of them; nobody imports this package but the commands.
//
//	agent.go     the parts, and who is started and closed when
//	world.go     what the control plane has said, decoded: objects for pods, input for routes
//	feed.go      what a step of the feed means to the parts
//	adapters.go  volume and podnet as package pod wants them
//	node.go      the Node that this machine is
//	machine_*.go what the operating system says of it
package nodeagent
