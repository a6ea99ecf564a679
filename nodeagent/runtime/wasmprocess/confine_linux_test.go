package wasmprocess

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const confinedArgument = "wherry-confined"

// confined gives up rights and says what it can still do.
func confined() int {
	if err := confine(); err != nil {
		fmt.Println("confine:", err)
		return 1
	}
	attempts := []struct {
		name string
		do   func() error
	}{
		{"exec", func() error { return exec.Command("/proc/self/exe").Run() }},
		{"become", func() error { return syscall.Exec("/proc/self/exe", []string{"x"}, nil) }},
		{"socket", func() error { _, err := net.Dial("udp", "127.0.0.1:9"); return err }},
		{"signal", func() error { return unix.Kill(os.Getppid(), 0) }},
		{"ptrace", func() error { return unix.PtraceAttach(os.Getppid()) }},
		{"unshare", func() error { return unix.Unshare(unix.CLONE_NEWUSER) }},
		{"mount", func() error { return unix.Mount("x", "/", "tmpfs", 0, "") }},
		{"local socket", func() error { _, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0); return err }},
		{"file", func() error { _, err := os.ReadFile("/proc/self/status"); return err }},
		{"threads", func() error { // Go stops and starts them
			done := make(chan struct{})
			for range 20 {
				go func() { unix.Nanosleep(&unix.Timespec{Nsec: 1e6}, nil); done <- struct{}{} }()
			}
			for range 20 {
				<-done
			}
			return nil
		}},
	}
	for _, a := range attempts {
		fmt.Println(a.name, a.do() == nil)
	}
	return 0
}

func TestConfine(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{confinedArgument}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := "exec false\nbecome false\nsocket false\nsignal false\nptrace false\nunshare false\nmount false\nlocal socket true\nfile true\nthreads true\n"
	if seccompArch == 0 {
		t.Skip("no filter for this machine")
	}
	if got := string(out); !strings.HasSuffix(got, want) {
		t.Errorf("it can\n%s", got)
	}
}
