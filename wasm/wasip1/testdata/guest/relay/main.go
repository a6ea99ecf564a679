// Relay uses the socket extension: it listens on the port in its first argument, and copies what each client sends to
// the port in its second, at the host in its third, and back.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"structs"
	"syscall"
	"unsafe"
)

//go:wasmimport wasi_snapshot_preview1 sock_open
func sockOpen(family, kind uint32, fd *uint32) syscall.Errno

//go:wasmimport wasi_snapshot_preview1 sock_bind
func sockBind(fd uint32, addr *buffer, port uint32) syscall.Errno

//go:wasmimport wasi_snapshot_preview1 sock_listen
func sockListen(fd, backlog uint32) syscall.Errno

//go:wasmimport wasi_snapshot_preview1 sock_connect
func sockConnect(fd uint32, addr *buffer, port uint32) syscall.Errno

//go:wasmimport wasi_snapshot_preview1 sock_getsockopt
func sockGetsockopt(fd, level, name uint32, value *uint32, size uint32) syscall.Errno

//go:wasmimport wasi_snapshot_preview1 sock_getlocaladdr_v1
func sockGetlocaladdr(fd uint32, addr *buffer, kind, port *uint32) syscall.Errno

//go:wasmimport wasi_snapshot_preview1 sock_getaddrinfo
func sockGetaddrinfo(node *byte, nodeLen uint32, service *byte, serviceLen uint32, hints *addrinfo, results *uint32, max uint32, n *uint32) syscall.Errno

type buffer struct {
	_         structs.HostLayout
	ptr, size uint32
}

type addrinfo struct {
	_                structs.HostLayout
	flags            uint16
	family, kind     uint8
	protocol         uint32
	size, addr       uint32
	name, nameLength uint32
	next             uint32
}

type sockaddr struct {
	_                  structs.HostLayout
	family, size, data uint32
}

// kept are objects that the host knows by their addresses.
var kept []any

func address[T any](p *T) uint32 {
	kept = append(kept, p)
	return uint32(uintptr(unsafe.Pointer(p)))
}

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "relay:", err)
		os.Exit(1)
	}
}

func run(listen, port, host string) error {
	l, err := listenOn(listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	target, err := resolve(host)
	if err != nil {
		return fmt.Errorf("resolve: %w", err)
	}
	to, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return err
	}
	for {
		client, err := l.Accept()
		if errors.Is(err, syscall.ECANCELED) {
			fmt.Println("terminated")
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		go func() {
			if err := relay(client, target, uint32(to)); err != nil {
				fmt.Println("relay:", err)
			}
		}()
	}
}

func socket() (uint32, error) {
	const inet, stream = 1, 2
	var fd uint32
	if e := sockOpen(inet, stream, &fd); e != 0 {
		return 0, e
	}
	return fd, syscall.SetNonblock(int(fd), true)
}

func listenOn(port string) (net.Listener, error) {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	fd, err := socket()
	if err != nil {
		return nil, err
	}
	any := new([4]byte)
	if e := sockBind(fd, &buffer{ptr: address(any), size: 4}, uint32(n)); e != 0 {
		return nil, e
	}
	if e := sockListen(fd, 64); e != 0 {
		return nil, e
	}
	var raw [16]byte
	var kind, bound uint32
	if e := sockGetlocaladdr(fd, &buffer{ptr: address(&raw), size: 16}, &kind, &bound); e != 0 {
		return nil, e
	}
	fmt.Println("listening on", net.IP(raw[:kind]), bound)
	f := os.NewFile(uintptr(fd), "")
	defer f.Close()
	return net.FileListener(f)
}

func resolve(host string) (*[4]byte, error) {
	data := new([26]byte)
	name := &sockaddr{size: 26, data: address(data)}
	result := &addrinfo{size: 12, addr: address(name)}
	list, n := address(result), uint32(0)
	node := []byte(host + "\x00")
	hints := &addrinfo{family: 1, kind: 2}
	if e := sockGetaddrinfo(&node[0], uint32(len(node)), nil, 0, hints, &list, 1, &n); e != 0 {
		return nil, e
	}
	return (*[4]byte)(data[2:6]), nil
}

func relay(client net.Conn, target *[4]byte, port uint32) error {
	defer client.Close()
	server, err := connect(target, port)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer server.Close()
	done := make(chan error)
	go func() {
		_, err := io.Copy(client, server)
		done <- err
	}()
	if _, err := io.Copy(server, client); err != nil {
		return err
	}
	server.Close()
	<-done
	return nil
}

func connect(target *[4]byte, port uint32) (net.Conn, error) {
	fd, err := socket()
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "")
	defer f.Close()
	if e := sockConnect(fd, &buffer{ptr: address(target), size: 4}, port); e != syscall.EINPROGRESS {
		return nil, e
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var state uint32
	err = raw.Write(func(fd uintptr) bool {
		const soError = 2
		if e := sockGetsockopt(uint32(fd), 0, soError, &state, 4); e != 0 {
			state = uint32(e)
		}
		return syscall.Errno(state) != syscall.EINPROGRESS
	})
	if err == nil && state != 0 {
		err = syscall.Errno(state)
	}
	if err != nil {
		return nil, err
	}
	return net.FileConn(f)
}
