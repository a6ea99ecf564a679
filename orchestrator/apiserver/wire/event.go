package wire

import (
	"encoding/binary"
	"io"

	"google.golang.org/protobuf/encoding/protowire"
)

// JSONEvent writes one event of a watch: a line.
func JSONEvent(w io.Writer, kind string, object []byte) error {
	for _, part := range [][]byte{[]byte(`{"type":"`), []byte(kind), []byte(`","object":`), object, []byte("}\n")} {
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// ProtobufEvent writes one event of a watch: its length in four bytes, big endian, and a
// metav1.WatchEvent without envelope that holds the enveloped object.
func ProtobufEvent(w io.Writer, kind string, object []byte) error {
	extension := sizeBytes(extensionRaw, len(object))
	size := sizeBytes(eventType, len(kind)) + sizeBytes(eventObject, extension)
	b := binary.BigEndian.AppendUint32(nil, uint32(size))
	b = appendString(b, eventType, kind)
	b = protowire.AppendTag(b, eventObject, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(extension))
	b = protowire.AppendTag(b, extensionRaw, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(len(object)))
	if _, err := w.Write(b); err != nil {
		return err
	}
	_, err := w.Write(object)
	return err
}
