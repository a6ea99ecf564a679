package nodelink

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"
)

// MaxMessage bounds a message, in bytes without its length: the largest object of the
// store and what surrounds it.
const MaxMessage = 4 << 20

// MaxOpening bounds the messages that open a stream (Open, Opened) and those of a join.
const MaxOpening = 64 << 10

// MaxConsole bounds one Console message. Writers put at most half of it into one.
const MaxConsole = 64 << 10

// ErrTooLarge says that a message exceeds its bound.
var ErrTooLarge = errors.New("nodelink: message too large")

// WriteMessage writes m, preceded by its length, in one Write. Errors: ErrTooLarge, w's.
func WriteMessage(w io.Writer, m proto.Message) error {
	size := proto.Size(m)
	if size > MaxMessage {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, size, MaxMessage)
	}
	b := binary.AppendUvarint(make([]byte, 0, size+binary.MaxVarintLen32), uint64(size))
	b, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(b, m)
	if err != nil {
		return fmt.Errorf("encode %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	_, err = w.Write(b)
	return err
}

// ReadMessage reads one message of at most max bytes into m, and nothing behind it. io.EOF
// means that the stream ended before the message began. Errors: ErrTooLarge, r's.
func ReadMessage(r io.Reader, m proto.Message, max int) error {
	size, err := readLength(r)
	if err != nil {
		return err
	}
	if size > uint64(max) {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, size, max)
	}
	b, err := readBody(r, int(size))
	if err != nil {
		return err
	}
	if err := proto.Unmarshal(b, m); err != nil {
		return fmt.Errorf("decode %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	return nil
}

func readLength(r io.Reader) (uint64, error) {
	br, ok := r.(io.ByteReader)
	if !ok {
		br = oneByte{r}
	}
	return binary.ReadUvarint(br)
}

// readBody does not trust size before the bytes have come: memory grows with them.
func readBody(r io.Reader, size int) ([]byte, error) {
	const trusted = 64 << 10
	if size <= trusted {
		b := make([]byte, size)
		_, err := io.ReadFull(r, b)
		return b, unexpected(err)
	}
	var buf bytes.Buffer
	buf.Grow(trusted)
	_, err := io.CopyN(&buf, r, int64(size))
	return buf.Bytes(), unexpected(err)
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// oneByte reads single bytes, so that nothing behind the length is consumed.
type oneByte struct{ io.Reader }

func (o oneByte) ReadByte() (byte, error) {
	var b [1]byte
	_, err := io.ReadFull(o.Reader, b[:])
	return b[0], err
}
