// Package podnet is the pods' network on one machine, in user space. Every pod has an
// address of the node's pod CIDR; nothing of it exists in the kernel.
//
// Its core is one function, dial: connect to an address on behalf of a pod or of the host.
//
//	pod's own loopback      -> its own listeners
//	cluster IP              -> one of the Service's endpoints, then as below
//	pod of this node        -> that pod's listener, through memory
//	pod of another node     -> a tunnel to its agent
//	anything else           -> the machine's own network
//
// A guest reaches it through Pod, which is a wasip1.Network; the proxy, probes and
// port-forward through Dial and DialPod.
package podnet

import "syscall"

// Errors of connections that the operating system never sees, as it would word them.
const (
	errRefused     = syscall.ECONNREFUSED
	errReset       = syscall.ECONNRESET
	errUnreachable = syscall.EHOSTUNREACH
	errInUse       = syscall.EADDRINUSE
	errNotLocal    = syscall.EADDRNOTAVAIL
	errTooLong     = syscall.EMSGSIZE
)
