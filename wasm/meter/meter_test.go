package meter

import (
	"bytes"
	"context"
	"errors"
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
	h.ticks++
	if !h.deadline.IsZero() && time.Now().After(h.deadline) {
		panic(errStopped)
	}
	stack[0] = Slice
}

func rewrite(t testing.TB, wasm []byte) []byte {
	t.Helper()
	out, err := Rewrite(wasm, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestGoGuestComputesTheSame(t *testing.T) {
	wasm := wasmtest.Build(t, "guests/cpu")
	run := func(wasm []byte) string {
		h := newHost(t, wazero.NewRuntimeConfig())
		var out bytes.Buffer
		config := wazero.NewModuleConfig().WithArgs("cpu").WithStdout(&out).WithSysWalltime().WithSysNanotime()
		ctx := experimental.WithCompilationWorkers(t.Context(), 2)
		mod, err := h.InstantiateWithConfig(ctx, wasm, config)
		if err != nil {
			t.Fatal(err)
		}
		if mod != nil {
			t.Log(h.ticks, "ticks")
		}
		return out.String()
	}
	want, got := run(wasm), run(rewrite(t, wasm))
	if want != got || want == "" {
		t.Errorf("metered:\n%s\nunmetered:\n%s", got, want)
	}
}
