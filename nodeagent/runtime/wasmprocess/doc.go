// Package wasmprocess is the driver that runs each WebAssembly container in a process of its own: the agent's program
// again, with as few rights as the system lets it have. It goes on when the agent ends, and the next agent finds it.
//
//	driver.go      Driver: what the agent asks for
//	container.go   what the agent knows of one run, and the words that it sends to it
//	gateway.go     the one socket at which processes reach the agent: commands, and the pod's network
//	folder.go      what both sides keep in a container's folder
//	wire.go        what crosses the socket
//	console.go     exec and attach, on both sides
//	child.go       the process: a guest under driver wasm, and the conversation with the agent
//	network.go     the pod's network as the process has it
//	confine_*.go   rights that the process gives up
//	spawn_*.go     how a process is started so that it stays, and whether it still lives
//
// # Who says what
//
// A folder for each run holds spec.json (the agent's), status.json and lock (the process'). The status is written whenever
// it changes, so that an agent which was away knows how a run ended; the lock is held for as long as the process lives.
//
//	process                                        agent
//	  | hello control, the folder's token            |
//	  |--------------------------------------------->|
//	  | status, again whenever it changes            |
//	  |--------------------------------------------->|
//	  |                 stop, kill, usage?, console  |
//	  |<---------------------------------------------|
//	  | hello dial / listen / accept / packets /     |
//	  |       console                                |
//	  |--------------------------------------------->|  each on a connection of its own, which then
//	  |                                     answer   |  carries the bytes
//	  |<=============================================|
//
// When the agent ends, its connections do: those of guests to others break, as they do when a cable is pulled; a listener of the
// guest stays, and listens again as soon as there is an agent.
package wasmprocess
