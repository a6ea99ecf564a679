package meter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"wherry/wasm/wasmtest"
)

const features = api.CoreFeaturesV2 | experimental.CoreFeaturesTailCall | experimental.CoreFeaturesExtendedConst

var errStopped = errors.New("stopped")

// host is a runtime with WASI and a tick that traps after a time.
type host struct {
	wazero.Runtime
	ticks    int
	deadline time.Time
}

func newHost(t testing.TB, config wazero.RuntimeConfig) *host {
	ctx := t.Context()
	h := &host{Runtime: wazero.NewRuntimeWithConfig(ctx, config.WithCoreFeatures(features))}
	t.Cleanup(func() { h.Close(context.Background()) })
	wasi_snapshot_preview1.MustInstantiate(ctx, h)
	i32 := []api.ValueType{api.ValueTypeI32}
	_, err := h.NewHostModuleBuilder(ImportModule).NewFunctionBuilder().
		WithGoModuleFunction(api.GoModuleFunc(h.tick), i32, i32).Export(ImportName).Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *host) tick(_ context.Context, _ api.Module, stack []uint64) {
	if int32(stack[0]) >= 0 {
		return // a table may grow
	}
	h.ticks++
	if !h.deadline.IsZero() && time.Now().After(h.deadline) {
		panic(errStopped)
	}
	stack[0] = Slice
}

func rewrite(t testing.TB, wasm []byte) []byte {
	t.Helper()
	out, err := Rewrite(wasm, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return out.Module
}

// TestGoGuest compares a metered guest with the same program for this machine.
func TestGoGuest(t *testing.T) {
	cache, err := wazero.NewCompilationCacheWithDir(wasmtest.CacheDir(t))
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close(context.Background())
	h := newHost(t, wazero.NewRuntimeConfig().WithCompilationCache(cache))
	var got bytes.Buffer
	config := wazero.NewModuleConfig().WithArgs("cpu").WithStdout(&got).WithSysWalltime().WithSysNanotime()
	ctx := experimental.WithCompilationWorkers(t.Context(), 2)
	if _, err := h.InstantiateWithConfig(ctx, rewrite(t, wasmtest.Build(t, "guests/cpu")), config); err != nil {
		t.Fatal(err)
	}
	if h.ticks == 0 {
		t.Error("the guest was never stopped")
	}
	native := exec.Command("go", "run", "../wasmtest/guests/cpu")
	want, err := native.Output()
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("metered:\n%s\nnative:\n%s", got.String(), want)
	}
}

// TestRefuses has modules that declare more than they have, or than is allowed.
func TestRefuses(t *testing.T) {
	const magic = "\x00asm\x01\x00\x00\x00"
	section := func(id byte, content string) string { return string([]byte{id, byte(len(content))}) + content }
	many := "\xff\xff\xff\xff\x0f"
	tests := map[string]struct {
		wasm string
		want error
	}{
		"nothing":            {"", ErrMalformed},
		"component":          {"\x00asm\x0d\x00\x01\x00", ErrMalformed},
		"cut":                {magic + "\x01\x05\x00", ErrMalformed},
		"order":              {magic + section(3, "\x00") + section(1, "\x00"), ErrMalformed},
		"twice":              {magic + section(1, "\x00") + section(1, "\x00"), ErrMalformed},
		"section":            {magic + section(13, "\x00"), ErrUnsupported},
		"types":              {magic + section(1, many), ErrMalformed},
		"number too long":    {magic + section(1, "\xff\xff\xff\xff\x1f"), ErrMalformed},
		"parameters":         {magic + section(1, "\x01\x60"+many), ErrMalformed},
		"functions":          {magic + section(3, many), ErrMalformed},
		"function type":      {magic + section(3, "\x01\x00"), ErrMalformed},
		"table":              {magic + section(4, "\x01\x70\x00"+many), ErrUnsupported},
		"shared memory":      {magic + section(5, "\x01\x03\x01\x01"), ErrUnsupported},
		"memories":           {magic + section(5, "\x02\x00\x01\x00\x01"), ErrUnsupported},
		"imported memory":    {magic + section(2, "\x01\x01a\x01b\x02\x00\x01"), ErrUnsupported},
		"import of our own":  {magic + section(1, "\x01\x60\x00\x00") + section(2, "\x01\x06wherry\x01b\x00\x00"), ErrUnsupported},
		"elements":           {magic + section(9, "\x01\x01\x00"+many), ErrMalformed},
		"bodies":             {magic + section(10, "\x01\x02\x00\x0b"), ErrMalformed},
		"locals":             {magic + section(1, "\x01\x60\x00\x00") + section(3, "\x01\x00") + section(10, "\x01\x09\x01"+many+"\x7f\x0b\x0b"), ErrUnsupported},
		"endless body":       {magic + section(1, "\x01\x60\x00\x00") + section(3, "\x01\x00") + section(10, "\x01\x02\x00\x01"), ErrMalformed},
		"unknown":            {magic + section(1, "\x01\x60\x00\x00") + section(3, "\x01\x00") + section(10, "\x01\x03\x00\xff\x0b"), ErrUnsupported},
		"threads":            {magic + section(1, "\x01\x60\x00\x00") + section(3, "\x01\x00") + section(10, "\x01\x05\x00\xfe\x03\x00\x0b"), ErrUnsupported},
		"branch":             {magic + section(1, "\x01\x60\x00\x00") + section(3, "\x01\x00") + section(10, "\x01\x04\x00\x0c\x01\x0b"), ErrMalformed},
		"more than the code": {magic + section(1, "\x01\x60\x00\x00") + section(3, "\x01\x00") + section(10, "\x01\x03\x00\x0b\x0b"), ErrMalformed},
	}
	for name, test := range tests {
		if _, err := Rewrite([]byte(test.wasm), Options{}); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

func TestRename(t *testing.T) {
	wasm := wasmtest.Module{Imports: []wasmtest.Import{
		{Module: "a", Name: "b", Params: []byte{wasmtest.I32, wasmtest.I64}}, {Module: "a", Name: "c"},
	}, Funcs: []wasmtest.Func{{Export: "_start"}}}.Bytes()
	out, err := Rewrite(wasm, Options{Rename: func(module, name string, params int) string { return fmt.Sprint(module, name, params) }})
	if err != nil {
		t.Fatal(err)
	}
	h := newHost(t, wazero.NewRuntimeConfigInterpreter())
	compiled, err := h.CompileModule(t.Context(), out.Module)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range compiled.ImportedFunctions() {
		module, name, _ := f.Import()
		got = append(got, module+"."+name)
	}
	if want := []string{"a.ab2", "a.ac0", "wherry.tick"}; !slices.Equal(got, want) {
		t.Errorf("it imports %q, want %q", got, want)
	}
}

// TestTicks has guests that never end by themselves; package engine measures how soon they are stopped.
func TestTicks(t *testing.T) {
	for name, wasm := range wasmtest.Endless() {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, wazero.NewRuntimeConfig())
			h.deadline = time.Now()
			_, err := h.InstantiateWithConfig(t.Context(), rewrite(t, wasm), wazero.NewModuleConfig())
			if !errors.Is(err, errStopped) {
				t.Errorf("it ended with %v", err)
			}
			if !strings.Contains(err.Error(), "wherry.tick(") || !strings.Contains(err.Error(), "\n\t"+name+".") {
				t.Errorf("the functions are not named: %v", err)
			}
		})
	}
}

// FuzzRewrite checks that nothing makes it panic, and that it makes valid what is valid and only that.
func FuzzRewrite(f *testing.F) {
	for _, wasm := range wasmtest.Endless() {
		f.Add(wasm)
	}
	f.Add(wasmtest.Hungry())
	h := newHost(f, wazero.NewRuntimeConfigInterpreter())
	f.Fuzz(func(t *testing.T, wasm []byte) {
		out, err := Rewrite(wasm, Options{})
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrUnsupported) {
				t.Errorf("error %v", err)
			}
			return
		}
		if len(out.Module) > 32*len(wasm)+4096 {
			t.Errorf("%d bytes became %d", len(wasm), len(out.Module))
		}
		_, plain := h.CompileModule(t.Context(), wasm)
		_, metered := h.CompileModule(t.Context(), out.Module)
		if (plain == nil) != (metered == nil) {
			t.Errorf("plain: %v, metered: %v", plain, metered)
		}
	})
}
