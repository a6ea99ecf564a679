package wasmtest

import "bytes"

// Echo returns a guest that serves on descriptor 3: one connection after the other, each answered with the first bytes that
// it sends. It is compiled in a millisecond, where a Go program takes seconds.
func Echo() []byte {
	const ( // functions that are imported
		setFlags = iota
		accept
		recv
		send
		closing
	)
	const ( // where in memory
		in     = 0 // address and length of what is read into
		conn   = 8
		got    = 12
		flags  = 16
		out    = 20 // address and length of what is sent
		sent   = 28
		buffer = 64
	)
	const listener, blocking, one = 3, 0, 1
	of := func(n int) []byte { return bytes.Repeat([]byte{I32}, n) }
	wasi := func(name string, params int) Import {
		return Import{Module: "wasi_snapshot_preview1", Name: name, Params: of(params), Results: of(1)}
	}
	number := func(n int) []byte { return Code(opI32, S32(int64(n))) }
	load := func(at int) []byte { return Code(number(at), opLoad, 2, 0) }
	return Module{
		Imports: []Import{wasi("fd_fdstat_set_flags", 2), wasi("sock_accept", 3), wasi("sock_recv", 6), wasi("sock_send", 5), wasi("fd_close", 1)},
		Memory:  pages(1, 1),
		Data:    []byte{in: buffer, in + 5: 1, out: buffer, out + 3: 0},
		Funcs: []Func{{Export: "_start", Code: Code(
			number(listener), number(blocking), opCall, setFlags, opDrop,
			opBlock, void, opLoop, void,
			number(listener), number(0), number(conn), opCall, accept, opBrIf, 1, // until accepting fails
			load(conn), number(in), number(one), number(0), number(got), number(flags), opCall, recv, opDrop,
			number(out+4), load(got), opStore, 2, 0,
			load(conn), number(out), number(one), number(0), number(sent), opCall, send, opDrop,
			load(conn), opCall, closing, opDrop,
			opBr, 0, opEnd, opEnd)}},
	}.Bytes()
}
