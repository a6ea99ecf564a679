package nodeagent

import (
	"time"

	"golang.org/x/sys/unix"

	"wherry/nodeagent/usage"
)

// measureMachine asks sysctl and the file system; what they do not say is 0. Memory that other programs could give
// back is not told by sysctl: all of it counts as available.
func measureMachine(dir string) measure {
	var m measure
	if n, err := unix.SysctlUint64("hw.memsize"); err == nil {
		m.memory, m.available = int64(n), int64(n)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err == nil {
		m.disk, m.free = int64(fs.Blocks)*int64(fs.Bsize), int64(fs.Bavail)*int64(fs.Bsize)
	}
	return m
}

// machineUsage is not told without cgo: what its containers use stands for it.
func machineUsage() usage.Point { return usage.Point{At: time.Now()} }

func kernelVersion() string { return sysctl("kern.osrelease") }

func osImage() string { return "macOS " + sysctl("kern.osproductversion") }

func machineID() string { return sysctl("kern.uuid") }

// sysctl returns a value, "" if it is not known.
func sysctl(name string) string {
	s, err := unix.Sysctl(name)
	if err != nil {
		return ""
	}
	return s
}
