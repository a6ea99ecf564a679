package wasmprocess

import "golang.org/x/sys/unix"

const seccompArch = unix.AUDIT_ARCH_X86_64

// deniedHere are calls that other machines do not have.
var deniedHere = []uint32{unix.SYS_FORK, unix.SYS_VFORK, unix.SYS_IOPL, unix.SYS_IOPERM, unix.SYS_MODIFY_LDT, unix.SYS_USELIB, unix.SYS_USTAT}
