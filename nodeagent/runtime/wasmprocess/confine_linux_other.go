//go:build linux && !amd64 && !arm64

package wasmprocess

// seccompArch 0: there is no filter for this machine.
const seccompArch = 0

var deniedHere []uint32
