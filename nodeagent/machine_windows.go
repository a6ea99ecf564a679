package nodeagent

import (
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"

	"wherry/nodeagent/usage"
)

// memoryStatus is MEMORYSTATUSEX of sysinfoapi.h.
type memoryStatus struct {
	length, load                                 uint32
	total, available                             uint64
	totalPage, availablePage                     uint64
	totalVirtual, availableVirtual, availableExt uint64
}

// measureMachine asks the kernel; what it does not say is 0.
func measureMachine(dir string) measure {
	var m measure
	status := memoryStatus{length: uint32(unsafe.Sizeof(memoryStatus{}))}
	call := windows.NewLazySystemDLL("kernel32.dll").NewProc("GlobalMemoryStatusEx")
	if ok, _, _ := call.Call(uintptr(unsafe.Pointer(&status))); ok != 0 {
		m.memory, m.available = int64(status.total), int64(status.available)
	}
	if name, err := windows.UTF16PtrFromString(dir); err == nil {
		var free, total uint64
		if err := windows.GetDiskFreeSpaceEx(name, &free, &total, nil); err == nil {
			m.disk, m.free = int64(total), int64(free)
		}
	}
	return m
}

// machineUsage asks the kernel; what it does not say is 0.
func machineUsage() usage.Point {
	m := measureMachine("")
	u := usage.Point{At: time.Now(), MemoryBytes: m.memory - m.available}
	var idle, kernel, user windows.Filetime // the kernel's time has the idle one in it
	call := windows.NewLazySystemDLL("kernel32.dll").NewProc("GetSystemTimes")
	if ok, _, _ := call.Call(uintptr(unsafe.Pointer(&idle)), uintptr(unsafe.Pointer(&kernel)), uintptr(unsafe.Pointer(&user))); ok != 0 {
		u.CPU = ticks(kernel) + ticks(user) - ticks(idle)
	}
	return u
}

// ticks are of 100 ns.
func ticks(t windows.Filetime) time.Duration {
	return time.Duration(int64(t.HighDateTime)<<32|int64(t.LowDateTime)) * 100
}

func kernelVersion() string {
	v := windows.RtlGetVersion()
	return fmt.Sprintf("%d.%d.%d", v.MajorVersion, v.MinorVersion, v.BuildNumber)
}

func osImage() string { return "Windows " + kernelVersion() }

func machineID() string {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, `SOFTWARE\Microsoft\Cryptography`, registry.QUERY_VALUE|registry.WOW64_64KEY)
	if err != nil {
		return "" // not known
	}
	defer k.Close()
	id, _, err := k.GetStringValue("MachineGuid")
	if err != nil {
		return ""
	}
	return id
}
