package wasmprocess

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/windows"
)

// detach makes a command stay when the agent ends, and not get the signals of its console.
func detach(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.DETACHED_PROCESS | windows.CREATE_NEW_PROCESS_GROUP, HideWindow: true}
}

// lock takes the lock of a folder for as long as this process lives: nobody else can open the file.
func lock(dir string) (*os.File, error) {
	path, err := windows.UTF16PtrFromString(filepath.Join(dir, lockFile))
	if err != nil {
		return nil, err
	}
	h, err := windows.CreateFile(path, windows.GENERIC_READ|windows.GENERIC_WRITE, 0, nil, windows.OPEN_ALWAYS, windows.FILE_ATTRIBUTE_NORMAL, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(h), lockFile), nil
}

// childEnv is the environment of a process: none of the agent's but what the system needs.
func childEnv() []string { return []string{"SystemRoot=" + os.Getenv("SystemRoot")} }

// lives says whether the process of a folder does.
func lives(dir string) bool {
	f, err := os.Open(filepath.Join(dir, lockFile))
	if err == nil {
		_ = f.Close() // nothing was written
		return false
	}
	return !os.IsNotExist(err)
}
