package wasmprocess

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// confine gives up what a guest's process does not need: to become another program or gain rights, to change what the
// machine is or look into other processes, and the network, which it reaches through the agent. The kernel puts the
// filter on all threads at once, so that it does not matter which of them Go runs on.
func confine() error {
	if err := limitFiles(); err != nil {
		return err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no new privileges: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("no dumps: %w", err)
	}
	if seccompArch == 0 {
		return nil // no filter for this machine: what is above has to do
	}
	filter := seccompFilter(uint32(os.Getpid()))
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return fmt.Errorf("system call filter: %w", errno)
	}
	return nil
}

// Offsets in struct seccomp_data.
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArg0   = 16 // its lower half; little-endian machines only
)

const errnoFlag = 0x00050000 // SECCOMP_RET_ERRNO

// seccompFilter lets everything pass but what is denied, with EPERM; and of sockets only those of the file system, of
// signals only those to itself (Go stops its threads with them).
func seccompFilter(pid uint32) []unix.SockFilter {
	const (
		load    = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		atLeast = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
		ret     = unix.BPF_RET | unix.BPF_K
		deny    = errnoFlag | uint32(unix.EPERM)
		kill    = 0x80000000 // SECCOMP_RET_KILL_PROCESS
		allow   = 0x7fff0000
	)
	f := []unix.SockFilter{
		{Code: load, K: offsetArch},
		{Code: equal, K: seccompArch, Jt: 1},
		{Code: ret, K: kill}, // another architecture's numbers mean other calls
		{Code: load, K: offsetNumber},
		{Code: atLeast, K: 0x40000000, Jf: 1}, // x32
		{Code: ret, K: deny},
	}
	// Libraries fall back to clone, which is needed for threads, only if this one does not exist.
	f = append(f, unix.SockFilter{Code: equal, K: unix.SYS_CLONE3, Jf: 1}, unix.SockFilter{Code: ret, K: errnoFlag | uint32(unix.ENOSYS)})
	for _, number := range denied {
		f = append(f, unix.SockFilter{Code: equal, K: number, Jf: 1}, unix.SockFilter{Code: ret, K: deny})
	}
	for _, only := range []struct{ number, arg0 uint32 }{
		{unix.SYS_SOCKET, unix.AF_UNIX}, {unix.SYS_SOCKETPAIR, unix.AF_UNIX}, {unix.SYS_TGKILL, pid},
	} {
		f = append(f,
			unix.SockFilter{Code: equal, K: only.number, Jf: 4},
			unix.SockFilter{Code: load, K: offsetArg0},
			unix.SockFilter{Code: equal, K: only.arg0, Jt: 1},
			unix.SockFilter{Code: ret, K: deny},
			unix.SockFilter{Code: ret, K: allow})
	}
	return append(f, unix.SockFilter{Code: ret, K: allow})
}

// denied are the calls that a guest's process has no use for. Those that came after these were chosen pass.
var denied = append([]uint32{
	unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_KCMP,
	unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_GETFD, unix.SYS_PIDFD_SEND_SIGNAL,
	unix.SYS_KILL, unix.SYS_TKILL, unix.SYS_RT_SIGQUEUEINFO, unix.SYS_RT_TGSIGQUEUEINFO,
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT,
	unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR,
	unix.SYS_SETNS, unix.SYS_UNSHARE,
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY,
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD,
	unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_SYSLOG, unix.SYS_ACCT, unix.SYS_QUOTACTL,
	unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_CLOCK_ADJTIME, unix.SYS_ADJTIMEX,
	unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME, unix.SYS_PERSONALITY, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_NAME_TO_HANDLE_AT,
	unix.SYS_SETUID, unix.SYS_SETGID, unix.SYS_SETREUID, unix.SYS_SETREGID, unix.SYS_SETRESUID, unix.SYS_SETRESGID,
	unix.SYS_SETGROUPS, unix.SYS_CAPSET,
}, deniedHere...)
