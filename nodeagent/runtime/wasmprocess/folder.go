package wasmprocess

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"wherry/nodeagent/runtime"
)

// Files of a container's folder.
const (
	specFile   = "spec.json"
	statusFile = "status.json"
	lockFile   = "lock"
	outputFile = "output" // what the process itself says, as when it dies
)

// maxFile bounds the files of a folder that are read, in bytes.
const maxFile = 16 << 20

// socketFile is the agent's socket, beside the folders.
const socketFile = "agent.sock"

// order is what a process is told to run.
type order struct {
	Spec     runtime.Spec `json:"spec"`
	CacheDir string       `json:"cacheDir"` // the agent's, with the code of the module in it
	Token    string       `json:"token"`    // by which the agent knows the process
}

// folderName is short, since the paths of sockets are.
func folderName(id runtime.ID) string {
	sum := sha256.Sum256([]byte(fmt.Sprintf("%s\x00%s\x00%d", id.Pod, id.Container, id.Attempt)))
	return hex.EncodeToString(sum[:8])
}

func newToken() string { return rand.Text() }

// writeFile replaces a file at once.
func writeFile(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	temporary := path + ".new"
	if err := os.WriteFile(temporary, b, 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

func readFile(path string, v any) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() // only read
	b, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// ended is the last word of a run: its status, or why it could not be started.
type ended struct {
	runtime.Status
	StartError string `json:",omitempty"`
	Invalid    bool   `json:",omitempty"` // it can never be started
}

func (e ended) err() error {
	switch {
	case e.StartError == "":
		return nil
	case e.Invalid:
		return fmt.Errorf("%w: %s", runtime.ErrInvalid, e.StartError)
	}
	return errors.New(e.StartError)
}

// lastWords returns the end of what a process said itself.
func lastWords(dir string) string {
	f, err := os.Open(filepath.Join(dir, outputFile))
	if err != nil {
		return ""
	}
	defer f.Close() // only read
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	const most = 1024
	b, err := io.ReadAll(io.NewSectionReader(f, max(0, info.Size()-most), most))
	if err != nil {
		return ""
	}
	return string(b)
}
