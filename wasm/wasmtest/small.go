package wasmtest

import (
	"encoding/binary"
	"time"
)

// Exit is a guest that ends with an exit code.
func Exit(code int) []byte {
	return Module{
		Name:    "exit",
		Imports: []Import{{Module: "wasi_snapshot_preview1", Name: "proc_exit", Params: []byte{I32}}},
		Funcs:   []Func{{Export: "_start", Code: Code(opI32, S32(int64(code)), opCall, 0)}},
		Memory:  pages(1, 1),
	}.Bytes()
}

// Print is a guest that writes a text of less than 64 KiB to standard output.
func Print(text string) []byte {
	const vector, written, at = 0, 8, 16
	data := binary.LittleEndian.AppendUint32(nil, at)
	data = binary.LittleEndian.AppendUint32(data, uint32(len(text)))
	data = append(append(data, make([]byte, at-len(data))...), text...)
	return Module{
		Name:    "print",
		Imports: []Import{{Module: "wasi_snapshot_preview1", Name: "fd_write", Params: []byte{I32, I32, I32, I32}, Results: []byte{I32}}},
		Funcs: []Func{{Export: "_start", Code: Code(
			opI32, 1, opI32, vector, opI32, 1, opI32, written, opCall, 0, opDrop)}},
		Memory: pages(2, 2), Data: data,
	}.Bytes()
}

// Sleep is a guest that waits and ends.
func Sleep(d time.Duration) []byte {
	const subscription, event, events = 0, 64, 128
	data := make([]byte, 48)
	binary.LittleEndian.PutUint32(data[16:], 1) // the monotonic clock
	binary.LittleEndian.PutUint64(data[24:], uint64(d))
	return Module{
		Name:    "sleep",
		Imports: []Import{{Module: "wasi_snapshot_preview1", Name: "poll_oneoff", Params: []byte{I32, I32, I32, I32}, Results: []byte{I32}}},
		Funcs: []Func{{Export: "_start", Code: Code(
			opI32, subscription, opI32, S32(event), opI32, 1, opI32, S32(events), opCall, 0, opDrop)}},
		Memory: pages(1, 1), Data: data,
	}.Bytes()
}
