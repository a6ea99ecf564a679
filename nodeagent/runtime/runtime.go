// Package runtime is the driver interface: what the agent asks of whatever executes
// containers. Its words are data only (names, specs, paths, exit codes), so that a
// container may live in this process or in a child of it and be found again after a
// restart. It knows no Kubernetes types. Drivers pass runtimetest.
package runtime

import (
	"context"
	"errors"
	"io"
	"time"
)

var (
	// ErrNotFound says that the driver knows no such container.
	ErrNotFound = errors.New("runtime: no such container")
	// ErrInvalid says that the spec or image can never run here; retrying is useless
	// until either changes. Wrapped with what is wrong and what to do.
	ErrInvalid = errors.New("runtime: cannot run")
)

// Errors of making an image ready that are more than a failed pull. They wrap what was wrong.
var (
	// ErrInvalidImageName says that the reference cannot be parsed: retrying is useless.
	ErrInvalidImageName = errors.New("invalid image name")
	// ErrImageNeverPull says that the image is not here and that the policy forbids to pull it.
	ErrImageNeverPull = errors.New("image is not present with pull policy of Never")
)

// ID names one run of one container: a restart is a new ID.
type ID struct {
	Pod       string // pod uid
	Container string // container name
	Attempt   int    // 0 for the first run
}

// State of a container.
type State string

const (
	Running State = "running"
	Exited  State = "exited"
)

// Status is what the driver knows of one container.
type Status struct {
	ID       ID
	State    State
	Started  time.Time
	Finished time.Time // zero while running
	ExitCode int
	// Reason in one word, as Kubernetes shows it: Completed, Error, OOMKilled,
	// StartError, ContainerCannotRun. "" while running.
	Reason  string
	Message string // for people; what trapped and where
	// ContainerID is the driver's own name, as in "wasm://...".
	ContainerID string
}

// Spec is everything a driver needs to start a container.
type Spec struct {
	ID        ID
	Namespace string // the tenant
	PodName   string
	PodIP     string
	Hostname  string

	Image   Image
	Command []string // replaces the image's entrypoint if not empty
	Args    []string // replaces the image's arguments if not empty
	Env     []string // "K=V", complete
	Dir     string   // working directory in the container; "" the image's

	// Stdin has standard input come from those who attach; without it there is none. With StdinOnce it ends with the first of
	// them.
	Stdin, StdinOnce bool

	Mounts []Mount
	// Ports are the declared container ports, in order: listeners that a preview 1
	// guest is handed.
	Ports []Port
	// HostNetwork means that listeners are the node's own.
	HostNetwork bool

	MemoryBytes   int64 // limit; 0: the driver's default
	CPUMillis     int64 // limit; 0: none
	RequestMillis int64

	// LogPath is the file that the driver writes output to, through package logfile.
	LogPath     string
	LogMaxBytes int64
	LogMaxFiles int
	// TerminationMessagePath is a host file whose end becomes Status.Message; may be "".
	TerminationMessagePath string
}

// Image is an image that package image has made ready on this machine.
type Image struct {
	Ref    string // as the pod says
	Digest string // of the manifest, "sha256:..."
	// Kind is "wasm" for a module, "oci" for a root filesystem.
	Kind string
	// Path is the module's file, or the root filesystem's directory.
	Path string
	// ContentDigest is the digest of the file at Path (wasm).
	ContentDigest        string
	Entrypoint, Cmd, Env []string
	Dir, User            string
}

// Mount is a file or directory of the host that the container sees.
type Mount struct {
	Host, Guest string
	ReadOnly    bool
}

// Port is a declared port.
type Port struct {
	Name     string
	Protocol string // "TCP" or "UDP"
	Port     uint16
}

// Console is what an exec or attach is connected to.
type Console struct {
	// Stdin ends when the user has no more to say; nil: none. The driver may close it, which ends a Read that waits.
	Stdin          io.ReadCloser
	Stdout, Stderr io.Writer // nil: not wanted. With TTY all output goes to Stdout
	TTY            bool
	// Resize is the terminal's size whenever it changes; nil without TTY. It is never closed.
	Resize <-chan Size
}

// Size is a terminal's, in characters.
type Size struct{ Columns, Rows uint16 }

// Execer is what a Runtime may be beside: containers that take further processes, and let users join theirs.
// Both methods return when everything that was written has been taken, and nothing uses the console any more; when ctx ends the process of an exec is ended. Errors: ErrNotFound if the container does not run;
// others are shown to the user.
type Execer interface {
	// Exec runs a command in a running container, with its image, files, network and environment, and returns the
	// exit code.
	Exec(ctx context.Context, id ID, command []string, c Console) (exitCode int, err error)
	// Attach joins the container's own process until that ends.
	Attach(ctx context.Context, id ID, c Console) error
}

// Usage is what a container has used.
type Usage struct {
	CPU         time.Duration // since it started
	MemoryBytes int64         // now
}

// Runtime is a driver. Every method is idempotent and may be called concurrently; calls for one ID
// are not concurrent.
type Runtime interface {
	// Name is the driver's: "wasm", "oci".
	Name() string
	// Start starts the container, or does nothing if that ID has been started already.
	// It returns when the guest runs or cannot; a guest that then exits is an exit, no
	// error. Errors: ErrInvalid.
	Start(ctx context.Context, s Spec) error
	// Stop asks the container to end (SIGTERM or its like), and ends it after grace. It
	// returns when the container has exited. Unknown IDs: nil.
	Stop(ctx context.Context, id ID, grace time.Duration) error
	// Remove forgets an exited container and everything kept for it but its log.
	Remove(ctx context.Context, id ID) error
	// Observe returns every container that the driver knows, also those of an earlier
	// agent process.
	Observe(ctx context.Context) ([]Status, error)
	// Changes says that the state of the ID may have changed. One channel, one reader; a
	// driver never blocks on it and never loses the last change.
	Changes() <-chan ID
	// Usage of running containers. Errors: ErrNotFound.
	Usage(ctx context.Context, id ID) (Usage, error)
	// Close ends what runs in this process, and waits.
	Close() error
}
