package nodelink

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"google.golang.org/protobuf/proto"
)

func TestMessagesSurviveTheWire(t *testing.T) {
	messages := []*AgentMessage{
		{Body: &AgentMessage_Hello{Hello: &Hello{Version: 1, NodeName: "a"}}},
		{},
		{Body: &AgentMessage_Report{Report: &Report{Seq: 7, Body: &Report_Event{Event: bytes.Repeat([]byte("x"), 300<<10)}}}},
	}
	var wire bytes.Buffer
	for _, m := range messages {
		if err := WriteMessage(&wire, m); err != nil {
			t.Fatal(err)
		}
	}
	wire.WriteString("rest")
	// Hidden behind a plain reader, so that single bytes are read.
	r := iotest.HalfReader(&wire)
	for _, want := range messages {
		got := &AgentMessage{}
		if err := ReadMessage(r, got, MaxMessage); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	if rest, _ := io.ReadAll(r); string(rest) != "rest" {
		t.Errorf("behind the messages is %q", rest)
	}
}

func TestReadMessageRefuses(t *testing.T) {
	huge := binary.AppendUvarint(nil, MaxMessage+1)
	cases := map[string]struct {
		wire []byte
		want error
	}{
		"nothing":         {nil, io.EOF},
		"half a length":   {[]byte{0x80}, io.ErrUnexpectedEOF},
		"half a body":     {[]byte{5, 1}, io.ErrUnexpectedEOF},
		"no body":         {[]byte{5}, io.ErrUnexpectedEOF},
		"a lying length":  {append(binary.AppendUvarint(nil, 1<<20), 1), io.ErrUnexpectedEOF},
		"more than max":   {huge, ErrTooLarge},
		"an endless size": {bytes.Repeat([]byte{0xff}, 11), nil},
		"garbage":         {[]byte{2, 0xff, 0xff}, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			err := ReadMessage(bytes.NewReader(c.wire), &Hello{}, MaxMessage)
			if err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestWriteMessageRefusesWhatNobodyReads(t *testing.T) {
	var wire bytes.Buffer
	err := WriteMessage(&wire, &Hello{NodeName: strings.Repeat("x", MaxMessage)})
	if !errors.Is(err, ErrTooLarge) || wire.Len() != 0 {
		t.Errorf("got %v and %d bytes", err, wire.Len())
	}
}

func TestAgree(t *testing.T) {
	cases := []struct {
		min, max, want uint32
		ok             bool
	}{
		{1, 1, 1, true},
		{1, 9, Version, true},
		{Version + 1, Version + 1, Version, false},
		{0, 0, 0, false},
	}
	for _, c := range cases {
		if v, ok := Agree(c.min, c.max); v != c.want || ok != c.ok {
			t.Errorf("Agree(%d, %d) = %d, %t", c.min, c.max, v, ok)
		}
	}
}

func FuzzReadMessage(f *testing.F) {
	for _, m := range []proto.Message{
		&AgentMessage{Body: &AgentMessage_Inventory{Inventory: &Inventory{Have: []*Have{{Kind: Kind_KIND_POD, Name: "p"}}, Last: true}}},
		&ServerMessage{Body: &ServerMessage_Feed{Feed: &Feed{Revision: 3, Change: []*Change{{Object: []byte("x")}}}}},
		&Open{Body: &Open_Tunnel{Tunnel: &Tunnel{Network: "tcp"}}},
	} {
		var wire bytes.Buffer
		if err := WriteMessage(&wire, m); err != nil {
			f.Fatal(err)
		}
		f.Add(wire.Bytes())
	}
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, wire []byte) {
		for _, m := range []proto.Message{&AgentMessage{}, &ServerMessage{}, &Open{}, &JoinRequest{}} {
			if ReadMessage(bytes.NewReader(wire), m, MaxOpening) != nil {
				continue
			}
			again := m.ProtoReflect().New().Interface()
			var out bytes.Buffer
			if err := WriteMessage(&out, m); err != nil {
				t.Fatal(err)
			}
			if err := ReadMessage(&out, again, 2*MaxOpening); err != nil || !proto.Equal(m, again) {
				t.Fatalf("not the same again: %v", err)
			}
		}
	})
}

func BenchmarkFeedOf1000Pods(b *testing.B) {
	feed := &Feed{Revision: 1}
	for range 1000 {
		feed.Change = append(feed.Change, &Change{Kind: Kind_KIND_POD, Namespace: "default", Name: "pod", Uid: "uid", Revision: 1, Object: make([]byte, 3200)})
	}
	m := &ServerMessage{Body: &ServerMessage_Feed{Feed: feed}}
	b.SetBytes(int64(proto.Size(m)))
	for b.Loop() {
		var wire bytes.Buffer
		if err := WriteMessage(&wire, m); err != nil {
			b.Fatal(err)
		}
		if err := ReadMessage(&wire, &ServerMessage{}, MaxMessage); err != nil {
			b.Fatal(err)
		}
	}
}
