package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"wherry/wasm"
	"wherry/wasm/inspect"
)

// maxModule bounds the file that is read, in bytes.
const maxModule = 256 << 20

// verdict is what a module says of itself and whether it runs here.
type verdict struct {
	inspect.Report
	Runs   bool   `json:"runs"`
	Engine string `json:"engine"`           // how it would: compiler, interpreter
	Reason string `json:"reason,omitempty"` // why it cannot

	malformed bool // there is no report
}

func newInspect(streams Streams) *cobra.Command {
	var flags engine
	var output string
	c := &cobra.Command{
		Use: "inspect FILE", Short: "Say what a module imports, exports and needs, and whether it can run here", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if output != "" && output != "json" {
				return fmt.Errorf("--output %s: it takes json", output)
			}
			v, err := judge(c.Context(), &flags, args[0], streams.Err)
			if err != nil {
				return err
			}
			if output == "json" {
				j := json.NewEncoder(streams.Out)
				j.SetIndent("", "  ")
				return j.Encode(v)
			}
			return v.print(streams.Out)
		},
	}
	flags.flags(c)
	c.Flags().StringVarP(&output, "output", "o", "", "json, or text by default")
	return c
}

// judge reads a module and tries to compile it.
func judge(ctx context.Context, e *engine, path string, log io.Writer) (v verdict, err error) {
	module, err := read(path)
	if err != nil {
		return v, err
	}
	// What it cannot say of itself is left empty: compiling says why it cannot run.
	v.Report, err = inspect.Read(module)
	v.malformed = err != nil
	host, err := e.host(log)
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, host.Close()) }()
	v.Engine = host.Engine()
	digest, open, err := open(path)
	if err != nil {
		return v, err
	}
	m, err := host.Compile(ctx, digest, open)
	switch {
	case errors.Is(err, wasm.ErrNotModule), errors.Is(err, wasm.ErrUnsupported):
		v.Reason = err.Error()
	case err != nil:
		return v, err
	default:
		v.Runs = true
		m.Release()
	}
	return v, nil
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // only read
	module, err := io.ReadAll(io.LimitReader(f, maxModule+1))
	if err == nil && len(module) > maxModule {
		err = fmt.Errorf("%s has more than %d MiB", path, maxModule>>20)
	}
	return module, err
}

// print writes it for people.
func (v verdict) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	line := func(name, format string, a ...any) { fmt.Fprintf(w, "%s:\t%s\n", name, fmt.Sprintf(format, a...)) }
	if v.Runs {
		line("Runs here", "yes, by the %s", v.Engine)
	} else {
		line("Runs here", "no: %s", v.Reason)
	}
	if v.malformed {
		return w.Flush()
	}
	line("Name", "%s", or(v.Name, "<none>"))
	line("Made by", "%s", or(strings.Join(v.Producers, ", "), "<unknown>"))
	line("Size", "%s; %d functions, %s of code, %s of data", size(v.Size), v.Functions, size(v.CodeSize), size(v.DataSize))
	line("Starts with", "%s", v.starts())
	for _, m := range v.Memories {
		line("Memory", "%s", memoryText(m))
	}
	for _, t := range v.Tables {
		line("Table", "%d entries%s", t.Min, upTo(t.Max, "entries", 1))
	}
	line("Features", "%s", or(strings.Join(v.Features, ", "), "<none declared>"))
	line("Sockets", "%s", or(strings.Join(v.Sockets, ", "), "<none>"))
	externals(w, "Imports", v.Imports)
	externals(w, "Exports", v.Exports)
	return w.Flush()
}

func (v verdict) starts() string {
	var all []string
	if v.Start {
		all = append(all, "a start function")
	}
	if v.Command {
		all = append(all, "_start")
	}
	return or(strings.Join(all, ", then "), "nothing: it is a library")
}

func externals(w io.Writer, title string, list []inspect.External) {
	fmt.Fprintf(w, "%s:\t%d\n", title, len(list))
	for _, e := range list {
		name := e.Name
		if e.Module != "" {
			name = e.Module + "." + name
		}
		fmt.Fprintf(w, "  %s\t%s %s\n", name, e.Kind, e.Type)
	}
}

func memoryText(m inspect.Memory) string {
	text := size(int(m.Min)<<16) + upTo(m.Max, "MiB", 16)
	if m.Shared {
		text += ", shared between threads"
	}
	if m.Is64 {
		text += ", with 64-bit addresses"
	}
	return text
}

// upTo is a maximum in larger units.
func upTo(n uint64, unit string, per uint64) string {
	if n == 0 {
		return ", no maximum"
	}
	return fmt.Sprintf(", at most %d %s", n/per, unit)
}

func size(n int) string {
	switch {
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 10<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}

func or(text, instead string) string {
	if text == "" {
		return instead
	}
	return text
}
