package wasm

import (
	"fmt"
	"net/netip"
	"path"
	"strings"

	"wherry/nodeagent/runtime"
	"wherry/wasm"
	"wherry/wasm/wasip1"
)

// outputRate is what a container may write to its log in a second, in bytes, for each of its streams; who writes more
// waits.
const outputRate = 8 << 20

// Validate refuses what can never run here. Errors: runtime.ErrInvalid.
func Validate(s runtime.Spec) error {
	switch {
	case s.Image.Kind != "wasm":
		return fmt.Errorf("%w: image %s is not a WebAssembly module", runtime.ErrInvalid, s.Image.Ref)
	case s.Image.Path == "" || s.Image.ContentDigest == "":
		return fmt.Errorf("%w: image %s has no module", runtime.ErrInvalid, s.Image.Ref)
	case s.MemoryBytes > 0 && s.MemoryBytes < 64<<10:
		return fmt.Errorf("%w: a memory limit of %d bytes is less than a page of 64 KiB", runtime.ErrInvalid, s.MemoryBytes)
	}
	return nil
}

// guestSpec says what the container's spec means to a guest.
func guestSpec(s runtime.Spec, network wasip1.Network) wasm.Spec {
	guest := wasm.Spec{
		Tenant:      s.Namespace,
		Name:        fmt.Sprintf("%s/%s/%s", s.Namespace, s.PodName, s.ID.Container),
		Args:        arguments(s),
		Env:         s.Env,
		Dir:         s.Dir,
		Network:     network,
		MemoryBytes: s.MemoryBytes,
		CPUMillis:   s.CPUMillis, RequestMillis: s.RequestMillis,
		OutputRate: outputRate,
	}
	if guest.Dir == "" {
		guest.Dir = s.Image.Dir
	}
	if guest.MemoryBytes == 0 {
		guest.MemoryBytes = wasm.DefaultMemory
	}
	for _, m := range s.Mounts {
		guest.Mounts = append(guest.Mounts, wasip1.Mount{Host: m.Host, Guest: path.Join("/", m.Guest), ReadOnly: m.ReadOnly})
	}
	if network != nil {
		guest.Listen = listeners(s.Ports)
	}
	return guest
}

// arguments are the command and its arguments as Kubernetes has them: a command replaces the image's entrypoint and its
// arguments, arguments only these. A module that has neither is called by the image's name.
func arguments(s runtime.Spec) []string {
	command, args := s.Command, s.Args
	if len(command) == 0 {
		command = s.Image.Entrypoint
		if len(args) == 0 {
			args = s.Image.Cmd
		}
	}
	if len(command) == 0 {
		command = []string{imageName(s.Image.Ref)}
	}
	return append(command[:len(command):len(command)], args...)
}

// imageName returns "hello" of "registry:5000/team/hello:v1@sha256:...".
func imageName(ref string) string {
	ref, _, _ = strings.Cut(ref, "@")
	name, _, _ := strings.Cut(path.Base(ref), ":")
	return name
}

// listeners are the declared TCP ports. Preview 1 has no packet sockets to hand over: who wants UDP binds it.
func listeners(ports []runtime.Port) []wasip1.Address {
	var list []wasip1.Address
	for _, p := range ports {
		if p.Protocol == "TCP" || p.Protocol == "" {
			list = append(list, wasip1.Address{Network: "tcp", Addr: netip.AddrPortFrom(netip.IPv4Unspecified(), p.Port)})
		}
	}
	return list
}
