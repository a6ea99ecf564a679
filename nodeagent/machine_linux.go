package nodeagent

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"wherry/nodeagent/usage"
)

// measureMachine reads what /proc and the file system say; what they do not say is 0.
func measureMachine(dir string) measure {
	var m measure
	values := keyValues("/proc/meminfo", ":")
	m.memory = kilobytes(values["MemTotal"])
	m.available = kilobytes(values["MemAvailable"])
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err == nil {
		m.disk, m.free = int64(fs.Blocks)*int64(fs.Bsize), int64(fs.Bavail)*int64(fs.Bsize)
	}
	return m
}

// machineUsage is what all processors and the memory were used for, from /proc; what it does not say is 0.
func machineUsage() usage.Point {
	values := keyValues("/proc/meminfo", ":")
	u := usage.Point{At: time.Now(), MemoryBytes: kilobytes(values["MemTotal"]) - kilobytes(values["MemAvailable"])}
	// user nice system idle iowait irq softirq steal, in hundredths of a second: proc_stat(5)
	for i, text := range strings.Fields(keyValues("/proc/stat", "  ")["cpu"]) {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil && i != 3 && i != 4 && i < 8 {
			u.CPU += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return u
}

// kilobytes reads "1024 kB".
func kilobytes(text string) int64 {
	n, err := strconv.ParseInt(strings.TrimSuffix(text, " kB"), 10, 64)
	if err != nil {
		return 0
	}
	return n << 10
}

// keyValues reads lines of a key, a separator and a value; a file that cannot be read has none.
func keyValues(path, separator string) map[string]string {
	values := map[string]string{}
	f, err := os.Open(path)
	if err != nil {
		return values
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if k, v, ok := strings.Cut(lines.Text(), separator); ok {
			values[k] = strings.Trim(v, " \t\"")
		}
	}
	return values
}

func kernelVersion() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "" // not known
	}
	return unix.ByteSliceToString(u.Release[:])
}

func osImage() string {
	if name := keyValues("/etc/os-release", "=")["PRETTY_NAME"]; name != "" {
		return name
	}
	return "Linux"
}

func machineID() string {
	b, err := os.ReadFile("/etc/machine-id")
	if err != nil {
		return "" // small systems have none
	}
	return strings.TrimSpace(string(b))
}
