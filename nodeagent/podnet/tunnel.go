package podnet

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"wherry/proto/link"
)

// StreamConn makes a connection of a stream of the link. For "udp" each packet stands
// behind its length, two bytes in network order, and each Read and Write is one packet.
func StreamConn(s link.Stream, network string, local, remote netip.AddrPort) net.Conn {
	c := &streamConn{Stream: s, local: addr(network, local), remote: addr(network, remote)}
	if network == "udp" {
		return &packetStream{streamConn: c, in: bufio.NewReader(s)}
	}
	return c
}

type streamConn struct {
	link.Stream
	local, remote net.Addr
}

func (c *streamConn) LocalAddr() net.Addr  { return c.local }
func (c *streamConn) RemoteAddr() net.Addr { return c.remote }

type packetStream struct {
	*streamConn
	in    *bufio.Reader
	write sync.Mutex
}

func (c *packetStream) Read(b []byte) (int, error) {
	var head [2]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return 0, err
	}
	size := int(binary.BigEndian.Uint16(head[:]))
	n, err := io.ReadFull(c.in, b[:min(size, len(b))])
	if err == nil && n < size {
		_, err = c.in.Discard(size - n)
	}
	return n, err
}

func (c *packetStream) Write(b []byte) (int, error) {
	if len(b) > maxPacket {
		return 0, errTooLong
	}
	c.write.Lock()
	defer c.write.Unlock()
	framed := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(b)), uint16(len(b)))
	if _, err := c.Stream.Write(append(framed, b...)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Splice copies both ways, with half-close, until both directions have ended or ctx ends,
// and closes both connections. Packet connections end after idle time without a packet.
func Splice(ctx context.Context, a, b net.Conn) error {
	stop := context.AfterFunc(ctx, func() {
		past := time.Unix(1, 0)
		a.SetDeadline(past) // a connection that takes no deadline is closed already
		b.SetDeadline(past)
	})
	defer stop()
	forward := make(chan error, 1)
	go func() { forward <- copyHalf(b, a) }()
	err := errors.Join(copyHalf(a, b), <-forward)
	return errors.Join(err, ignoreClosed(a.Close()), ignoreClosed(b.Close()))
}

// copyHalf copies from src to dst and then ends that direction.
func copyHalf(dst, src net.Conn) error {
	var err error
	if src.LocalAddr().Network() == "udp" {
		err = copyPackets(dst, src)
		return errors.Join(err, ignoreClosed(dst.Close())) // packets know no half-close
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	_, err = io.CopyBuffer(dst, src, *buf)
	if half, ok := dst.(interface{ CloseWrite() error }); ok && err == nil {
		return ignoreClosed(half.CloseWrite())
	}
	return errors.Join(ignoreClosed(err), ignoreClosed(dst.Close()), ignoreClosed(src.Close()))
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

func copyPackets(dst, src net.Conn) error {
	b := make([]byte, maxPacket)
	for {
		if err := src.SetReadDeadline(time.Now().Add(flowIdle)); err != nil {
			return ignoreClosed(err)
		}
		n, err := src.Read(b)
		if err != nil {
			return ignoreClosed(err)
		}
		if _, err := dst.Write(b[:n]); err != nil {
			return fmt.Errorf("sending a packet on: %w", err)
		}
	}
}

func ignoreClosed(err error) error {
	var timeout net.Error
	if errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) || errors.As(err, &timeout) && timeout.Timeout() {
		return nil
	}
	return err
}
