// Package wasip1 is a host of WASI preview 1: all of module wasi_snapshot_preview1, and the socket extension that
// WasmEdge put into the same module.
//
// A System is what one guest holds: arguments, clocks and a table of descriptors. Functions find it in the context
// of the call. One guest goroutine calls a System at a time; Terminate and Close may be called at any time.
//
//	system.go      Config, System: its life, and how a call waits
//	host.go        the table of functions, and how a call reaches one
//	memory.go      the guest's memory, bounds-checked
//	errno.go       errors as numbers
//	table.go       descriptors, rights.go what each may do
//	fd.go          fd_* functions; path.go path_* functions
//	dir.go file.go what directories and files are; stat*.go, attr*.go where systems differ
//	stdio.go       standard streams
//	stream.go      read-ahead and write-behind, of which conn.go, listener.go and packet.go are made
//	socket.go      sock_* functions; sockaddr.go how the extension lays out addresses
//	poll.go        poll_oneoff
//	process.go     arguments, clocks, randomness, exit
//
// Waiting never holds a thread and never spins. What can be waited for is owned by a goroutine that tells the System
// when something changed; a blocking call tries, sleeps until a change, and tries again.
package wasip1
