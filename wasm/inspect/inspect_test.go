package inspect

import (
	"errors"
	"reflect"
	"testing"

	"wherry/wasm/wasmtest"
)

func TestRead(t *testing.T) {
	start := uint32(1)
	module := wasmtest.Module{
		Name:    "example",
		Imports: []wasmtest.Import{{Module: "wasi_snapshot_preview1", Name: "sock_open", Params: []byte{wasmtest.I32, wasmtest.I64}, Results: []byte{wasmtest.I32}}},
		Funcs:   []wasmtest.Func{{Export: "_start"}, {Params: []byte{wasmtest.I32}}},
		Memory:  &[2]uint32{1, 16}, Table: []uint32{1}, Data: []byte("data"), Start: &start,
	}.Bytes()
	// A custom section target_features with one feature that is used and one that must not be.
	features := "\x0ftarget_features\x02+\x0bbulk-memory-\x04simd"
	module = append(append(module, 0, byte(len(features))), features...)
	got, err := Read(module)
	if err != nil {
		t.Fatal(err)
	}
	want := Report{
		Name: "example", Size: len(module), Functions: 2, CodeSize: got.CodeSize, DataSize: got.DataSize,
		Imports:  []External{{"wasi_snapshot_preview1", "sock_open", "func", "(i32, i64) -> (i32)"}},
		Exports:  []External{{Name: "_start", Kind: "func", Type: "() -> ()"}, {Name: "memory", Kind: "memory"}},
		Memories: []Memory{{Min: 1, Max: 16}}, Tables: got.Tables,
		Start: true, Command: true, Sockets: []string{"WasmEdge"}, Features: []string{"bulk-memory"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v, want\n%+v", got, want)
	}
	if got.CodeSize == 0 || got.DataSize < len("data") || len(got.Tables) != 1 {
		t.Errorf("got %+v", got)
	}
}

// TestNewerModules: what cannot run here is told all the same.
func TestNewerModules(t *testing.T) {
	got, err := Read([]byte("\x00asm\x01\x00\x00\x00" + "\x05\x04\x01\x07\x01\x02"))
	if err != nil || len(got.Memories) != 1 || got.Memories[0] != (Memory{Min: 1, Max: 2, Shared: true, Is64: true}) {
		t.Errorf("a shared 64-bit memory: %+v, %v", got, err)
	}
}

func TestMalformed(t *testing.T) {
	for _, module := range []string{
		"", "(module)", "\x00asm\x0d\x00\x01\x00", "\x00asm\x01\x00\x00\x00\x01", "\x00asm\x01\x00\x00\x00\x01\xff\xff\xff\xff\x0f",
		"\x00asm\x01\x00\x00\x00\x02\x05\x01\x01a\x01b", "\x00asm\x01\x00\x00\x00\x07\x05\x01\x01a\x09\x00",
		"\x00asm\x01\x00\x00\x00\x03\x05\xff\xff\xff\xff\x0f",
	} {
		if r, err := Read([]byte(module)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %+v, %v", module, r, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(wasmtest.Trap())
	f.Add(wasmtest.Hungry())
	f.Fuzz(func(t *testing.T, module []byte) {
		if _, err := Read(module); err != nil && !errors.Is(err, ErrMalformed) {
			t.Error(err)
		}
	})
}
