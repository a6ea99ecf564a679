package meter

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// wazeroDir returns where the sources of wazero are, with the specification's tests.
func wazeroDir(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// script is a file of the specification's tests.
type script struct {
	Commands []command `json:"commands"`
}

type command struct {
	Type       string `json:"type"`
	Line       int    `json:"line"`
	Filename   string `json:"filename"`
	ModuleType string `json:"module_type"`
	Name       string `json:"name"`
	Action     struct {
		Type   string  `json:"type"`
		Module string  `json:"module"`
		Field  string  `json:"field"`
		Args   []value `json:"args"`
	} `json:"action"`
}

type value struct {
	Type     string          `json:"type"`
	LaneType string          `json:"lane_type"`
	Value    json.RawMessage `json:"value"`
}

// bits returns the value as wazero passes it.
func (v value) bits(t *testing.T) []uint64 {
	var text string
	if v.Type != "v128" {
		if err := json.Unmarshal(v.Value, &text); err != nil {
			t.Fatal(err)
		}
		if text == "null" {
			return []uint64{0}
		}
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return []uint64{n}
	}
	var lanes []string
	if err := json.Unmarshal(v.Value, &lanes); err != nil {
		t.Fatal(err)
	}
	out := make([]uint64, 2)
	width := 128 / len(lanes)
	for i, lane := range lanes {
		n, err := strconv.ParseUint(lane, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		out[i*width/64] |= n << (i * width % 64)
	}
	return out
}

// TestSpecification runs the tests of the specification on each module and on its metered form: both must do the same, and
// what is invalid must stay so.
func TestSpecification(t *testing.T) {
	root := filepath.Join(wazeroDir(t), "internal/integration_test/spectest")
	total := 0
	for _, dir := range []string{"v2", "tail-call", "extended-const"} {
		files, err := filepath.Glob(filepath.Join(root, dir, "testdata/*.json"))
		if err != nil || len(files) == 0 {
			t.Fatal("no tests", err)
		}
		for _, file := range files {
			t.Run(dir+"/"+strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) { total += runScript(t, file) })
		}
	}
	if total < 15_000 {
		t.Errorf("only %d calls were compared", total)
	}
}

// pair is a module and its metered form.
type pair struct{ plain, metered api.Module }

func runScript(t *testing.T, file string) (calls int) {
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var s script
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	h := newHost(t, wazero.NewRuntimeConfig())
	instantiatePrints(t, h)
	current, named := pair{}, map[string]pair{}
	for _, c := range s.Commands {
		switch c.Type {
		case "module":
			current = instantiate(t, h, readModule(t, file, c))
			named[c.Name] = current
		case "assert_invalid", "assert_malformed":
			if c.ModuleType == "binary" {
				staysInvalid(t, h, c, readModule(t, file, c))
			}
		case "action", "assert_return", "assert_trap", "assert_exhaustion":
			p := current
			if c.Action.Module != "" {
				p = named[c.Action.Module]
			}
			if p.plain != nil && c.Action.Type == "invoke" {
				compare(t, p, c)
				calls++
			}
		}
	}
	return calls
}

func readModule(t *testing.T, script string, c command) []byte {
	wasm, err := os.ReadFile(filepath.Join(filepath.Dir(script), c.Filename))
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// instantiate returns nothing for modules that need others.
func instantiate(t *testing.T, h *host, wasm []byte) pair {
	config := wazero.NewModuleConfig().WithName("").WithStartFunctions()
	plain, err := h.InstantiateWithConfig(t.Context(), wasm, config)
	if err != nil {
		return pair{}
	}
	metered, err := Rewrite(wasm, Options{})
	if errors.Is(err, ErrUnsupported) && strings.Contains(err.Error(), "imported") {
		return pair{}
	}
	if err != nil {
		t.Errorf("rewrite: %v", err)
		return pair{}
	}
	m, err := h.InstantiateWithConfig(t.Context(), metered.Module, config)
	if err != nil {
		t.Errorf("metered: %v", err)
		return pair{}
	}
	return pair{plain, m}
}

func staysInvalid(t *testing.T, h *host, c command, wasm []byte) {
	if _, err := h.CompileModule(t.Context(), wasm); err == nil {
		return
	}
	metered, err := Rewrite(wasm, Options{})
	if err != nil {
		return
	}
	if _, err := h.CompileModule(t.Context(), metered.Module); err == nil {
		t.Errorf("line %d: %s is invalid, and valid when it is metered", c.Line, c.Filename)
	}
}

func compare(t *testing.T, p pair, c command) {
	var args []uint64
	for _, a := range c.Action.Args {
		args = append(args, a.bits(t)...)
	}
	call := func(m api.Module) ([]uint64, string) {
		results, err := m.ExportedFunction(c.Action.Field).Call(context.Background(), args...)
		if err != nil {
			text, _, _ := strings.Cut(err.Error(), "\n")
			return nil, text
		}
		return results, ""
	}
	want, wantErr := call(p.plain)
	got, gotErr := call(p.metered)
	def := p.plain.ExportedFunction(c.Action.Field).Definition()
	if slices.Contains(def.ResultTypes(), 0x70) {
		want, got = nil, nil // addresses of functions
	}
	if gotErr != wantErr || !slices.Equal(got, want) {
		t.Errorf("line %d: %s(%v) is %v %q, was %v %q", c.Line, c.Action.Field, args, got, gotErr, want, wantErr)
	}
}

// instantiatePrints adds the functions that the tests import; they do nothing.
func instantiatePrints(t *testing.T, h *host) {
	b := h.NewHostModuleBuilder("spectest")
	nothing := api.GoModuleFunc(func(context.Context, api.Module, []uint64) {})
	i32, i64, f32, f64 := api.ValueTypeI32, api.ValueTypeI64, api.ValueTypeF32, api.ValueTypeF64
	for name, params := range map[string][]api.ValueType{
		"print": nil, "print_i32": {i32}, "print_i64": {i64}, "print_f32": {f32}, "print_f64": {f64},
		"print_i32_f32": {i32, f32}, "print_f64_f64": {f64, f64},
	} {
		b.NewFunctionBuilder().WithGoModuleFunction(nothing, params, nil).Export(name)
	}
	if _, err := b.Instantiate(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestOtherCompilers rewrites what other compilers make.
func TestOtherCompilers(t *testing.T) {
	root := wazeroDir(t)
	h := newHost(t, wazero.NewRuntimeConfigInterpreter())
	n := 0
	for _, pattern := range []string{"examples/*/testdata/*.wasm", "imports/*/testdata/*/*.wasm", "imports/*/example/testdata/*/*.wasm",
		"cmd/wazero/testdata/*/*.wasm", "internal/testing/dwarftestdata/testdata/*/*.wasm"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			wasm, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := h.CompileModule(t.Context(), wasm); err != nil {
				continue // not a module, on purpose
			}
			n++
			if _, err := h.CompileModule(t.Context(), rewrite(t, wasm)); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
	if n < 10 {
		t.Errorf("only %d modules were found", n)
	}
}
