package wasmprocess

import "golang.org/x/sys/unix"

const seccompArch = unix.AUDIT_ARCH_AARCH64

// deniedHere are calls that other machines do not have.
var deniedHere []uint32
