//go:build wasip1

// Udpecho answers every packet on port 7 with its own bytes. WASI preview 1 knows no UDP;
// the guest uses the socket functions that WasmEdge added to it.
package main

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"
)

//go:wasmimport wasi_snapshot_preview1 sock_open
//go:noescape
func sockOpen(family, kind int32, fd unsafe.Pointer) uint32

//go:wasmimport wasi_snapshot_preview1 sock_bind
//go:noescape
func sockBind(fd int32, address unsafe.Pointer, port uint32) uint32

//go:wasmimport wasi_snapshot_preview1 sock_recv_from
//go:noescape
func sockRecvFrom(fd int32, iovs unsafe.Pointer, n uint32, address unsafe.Pointer, flags uint32, port, read, roflags unsafe.Pointer) uint32

//go:wasmimport wasi_snapshot_preview1 sock_send_to
//go:noescape
func sockSendTo(fd int32, iovs unsafe.Pointer, n uint32, address unsafe.Pointer, port int32, flags uint32, written unsafe.Pointer) uint32

const (
	inet     = 1
	datagram = 1
)

// buffer is a pointer and a length as the host reads them: 32 bits each.
type buffer struct{ ptr, size uint32 }

func pointTo(b []byte) buffer {
	return buffer{uint32(uintptr(unsafe.Pointer(unsafe.SliceData(b)))), uint32(len(b))}
}

// address is what the host writes and reads: a family, and the bytes of an IPv4 address.
var address [128]byte

func main() {
	var fd int32
	must("opening a socket", sockOpen(inet, datagram, unsafe.Pointer(&fd)))
	any := []byte{0, 0, 0, 0}
	at := pointTo(any)
	must("binding port 7", sockBind(fd, unsafe.Pointer(&at), 7))
	fmt.Println("echoing on UDP port 7 as", os.Getenv("HOSTNAME"))
	packet := make([]byte, 64<<10)
	for {
		n, port := receive(fd, packet)
		send(fd, packet[:n], port)
	}
}

func receive(fd int32, packet []byte) (n, port uint32) {
	iov, from := pointTo(packet), pointTo(address[:])
	var flags uint32
	must("receiving", sockRecvFrom(fd, unsafe.Pointer(&iov), 1, unsafe.Pointer(&from), 0,
		unsafe.Pointer(&port), unsafe.Pointer(&n), unsafe.Pointer(&flags)))
	return n, port
}

func send(fd int32, packet []byte, port uint32) {
	iov, to := pointTo(packet), pointTo(address[:])
	var n uint32
	must("answering", sockSendTo(fd, unsafe.Pointer(&iov), 1, unsafe.Pointer(&to), int32(port), 0, unsafe.Pointer(&n)))
}

// must ends the program when a call has failed. A socket that waits blocks the guest's
// only thread, which has nothing else to do.
func must(doing string, errno uint32) {
	if errno != 0 {
		fmt.Fprintf(os.Stderr, "%s: %v\n", doing, syscall.Errno(errno))
		os.Exit(1)
	}
}
