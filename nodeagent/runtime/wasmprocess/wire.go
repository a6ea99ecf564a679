package wasmprocess

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"wherry/nodeagent/runtime"
)

// protocol is the version of what crosses the socket. A process may be older than its agent, which has been replaced
// meanwhile: fields are added, never changed.
const protocol = 1

// maxLine bounds what is read of a peer before it has said a whole line, in bytes.
const maxLine = 64 << 10

// Kinds of connections.
const (
	kindControl = "control"
	kindDial    = "dial"
	kindListen  = "listen"
	kindAccept  = "accept"
	kindPackets = "packets"
	kindResolve = "resolve"
	kindConsole = "console"
)

// hello is what a process says first on each connection.
type hello struct {
	Protocol int            `json:"protocol"`
	Folder   string         `json:"folder"`
	Token    string         `json:"token"`
	Kind     string         `json:"kind"`
	Network  string         `json:"network,omitempty"` // "tcp", "udp"
	Address  netip.AddrPort `json:"address,omitzero"`
	Host     string         `json:"host,omitempty"`    // to be resolved
	Accept   uint64         `json:"accept,omitempty"`  // which connection of a listener
	Console  uint64         `json:"console,omitempty"` // which exec or attach
}

// answer is what the agent says to all but a control connection.
type answer struct {
	Error     *failure       `json:"error,omitempty"`
	Local     netip.AddrPort `json:"local,omitzero"`
	Remote    netip.AddrPort `json:"remote,omitzero"`
	Addresses []netip.Addr   `json:"addresses,omitempty"`
	Accept    uint64         `json:"accept,omitempty"` // a listener has a connection of this number
}

// report is what a process says on its control connection.
type report struct {
	Status *runtime.Status `json:"status,omitempty"`
	Usage  *runtime.Usage  `json:"usage,omitempty"`
}

// command is what the agent says there.
type command struct {
	Stop  *time.Duration `json:"stop,omitempty"` // end within the grace
	Usage bool           `json:"usage,omitempty"`
	// Console begins an exec or attach, EndConsole ends it.
	Console    *consoleOrder `json:"console,omitempty"`
	EndConsole uint64        `json:"endConsole,omitempty"`
}

// failure is an error that has crossed: its text, and what it was.
type failure struct {
	Text     string        `json:"text"`
	Errno    syscall.Errno `json:"errno,omitempty"`
	NotFound bool          `json:"notFound,omitempty"` // of a name
	DNS      bool          `json:"dns,omitempty"`
}

func failureOf(err error) *failure {
	if err == nil {
		return nil
	}
	f := &failure{Text: err.Error()}
	errors.As(err, &f.Errno)
	var dns *net.DNSError
	if errors.As(err, &dns) {
		f.DNS, f.NotFound = true, dns.IsNotFound
	}
	return f
}

// err is the error that the failure was, as far as guests can tell.
func (f *failure) err() error {
	switch {
	case f == nil:
		return nil
	case f.DNS:
		return &net.DNSError{Err: f.Text, IsNotFound: f.NotFound}
	case f.Errno != 0:
		return fmt.Errorf("%s: %w", f.Text, f.Errno)
	}
	return errors.New(f.Text)
}

// wire is a connection that begins with lines.
type wire struct {
	net.Conn
	r *bufio.Reader
}

func newWire(c net.Conn) *wire { return &wire{c, bufio.NewReaderSize(c, maxLine)} }

func (w *wire) Read(b []byte) (int, error) { return w.r.Read(b) }

// CloseWrite says that nothing more will be written.
func (w *wire) CloseWrite() error {
	if half, ok := w.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

func (w *wire) send(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(line, '\n'))
	return err
}

func (w *wire) receive(v any) error {
	line, err := w.r.ReadSlice('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, v)
}

// maxPacket is the largest datagram with its address, in bytes.
const maxPacket = 65535 + 64

// sendPacket writes a datagram: its length, the length of an address, the address, the data.
func (w *wire) sendPacket(a netip.AddrPort, data []byte) error {
	address, err := a.MarshalBinary()
	if err != nil {
		return err
	}
	frame := binary.BigEndian.AppendUint32(make([]byte, 0, 5+len(address)+len(data)), uint32(1+len(address)+len(data)))
	frame = append(append(append(frame, byte(len(address))), address...), data...)
	if len(frame)-4 > maxPacket {
		return syscall.EMSGSIZE
	}
	_, err = w.Write(frame)
	return err
}

// receivePacket reads a datagram into the buffer; what does not fit is lost.
func (w *wire) receivePacket(buf []byte) (n int, a netip.AddrPort, err error) {
	var head [4]byte
	if _, err := io.ReadFull(w.r, head[:]); err != nil {
		return 0, a, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size == 0 || size > maxPacket {
		return 0, a, fmt.Errorf("a datagram of %d bytes", size)
	}
	frame := make([]byte, size)
	if _, err := io.ReadFull(w.r, frame); err != nil {
		return 0, a, err
	}
	end := 1 + int(frame[0])
	if end > len(frame) {
		return 0, a, errors.New("a datagram without an address")
	}
	if err := a.UnmarshalBinary(frame[1:end]); err != nil {
		return 0, a, err
	}
	return copy(buf, frame[end:]), a, nil
}
