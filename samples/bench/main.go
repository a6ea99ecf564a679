// Bench measures a cluster of the built commands from outside, as `make bench` runs it, and prints a table of medians.
//
//	main.go     the table, and which measures are taken
//	process.go  commands that run, their memory, and a client of the API
//	pods.go     how fast pods answer and run
//	api.go      how fast the API writes and tells
//	many.go     a server that holds 10,000 pods, and 100,000 objects
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

func main() {
	runs := flag.Int("runs", 5, "how often everything is measured")
	only := flag.String("only", "", "take only measures whose name has this in it, also those that take long; their names: "+names())
	bin := flag.String("bin", "bin", "folder of the built commands and guests")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var t table
	for i := range *runs {
		fmt.Fprintf(os.Stderr, "run %d of %d\n", i+1, *runs)
		if err := measure(ctx, *bin, *only, &t); err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			os.Exit(1)
		}
	}
	if err := t.print(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// patience is how long one run may take.
const patience = 20 * time.Minute

// measure takes every measure once, each cluster in a new directory.
func measure(ctx context.Context, bin, only string, t *table) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	dir, err := os.MkdirTemp("", "wherry-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) // what is left is in the system's folder for such things
	b := bench{bin: bin, dir: dir, only: only, table: t}
	if b.wants(single{name: "memory"}) {
		if err := b.memory(ctx); err != nil {
			return fmt.Errorf("measuring memory: %w", err)
		}
	}
	if err := b.cluster(ctx); err != nil {
		return err
	}
	return b.many(ctx)
}

// single is one measure of a running cluster.
type single struct {
	name string
	long bool // it is taken only when it is asked for
	take func(*bench, context.Context, *api) error
}

// onOne are taken of a one-machine cluster, in this order.
var onOne = []single{
	{"first-byte", false, (*bench).firstByte},
	{"watches", false, (*bench).watches},
	{"watches-10000", true, (*bench).manyWatches},
	{"thousand-pods", false, (*bench).thousandPods},
}

func names() string {
	all := []string{"memory"}
	for _, s := range slices.Concat(onOne, onServer) {
		all = append(all, s.name)
	}
	return strings.Join(all, ", ")
}

func (b *bench) wants(s single) bool {
	if b.only == "" {
		return !s.long
	}
	return strings.Contains(s.name, b.only)
}

// take takes those of some measures that are wanted.
func (b *bench) take(ctx context.Context, client *api, all []single) error {
	for _, s := range all {
		if !b.wants(s) {
			continue
		}
		if err := s.take(b, ctx, client); err != nil {
			return fmt.Errorf("measuring %s: %w", s.name, err)
		}
	}
	return nil
}

func (b *bench) wantsAny(all []single) bool { return slices.ContainsFunc(all, b.wants) }

// bench is one run.
type bench struct {
	bin, dir string
	only     string // "": all but the long ones
	table    *table
}

// cluster measures a one-machine cluster.
func (b *bench) cluster(ctx context.Context) error {
	if !b.wantsAny(onOne) {
		return nil
	}
	up, err := b.start(ctx, "up", "wherryd", "up", "--listen", "127.0.0.1:0", "--node-name", "bench",
		"--node-port-address", "127.0.0.1", "--max-pods", "1010")
	if err != nil {
		return err
	}
	defer up.stop()
	b.table.add("`wherry up` to ready", "ms", 1000, milliseconds(up.ready))
	client, err := up.client()
	if err != nil {
		return err
	}
	if _, err := client.wherry(ctx, "push", filepath.Join(b.bin, "hello.wasm"), image); err != nil {
		return err
	}
	return b.take(ctx, client, onOne)
}

// table is what was measured, in the order in which it was first.
type table struct{ rows []*row }

type row struct {
	what, unit string
	aim        float64 // at most; 0: none
	values     []float64
}

func (t *table) add(what, unit string, aim float64, values ...float64) {
	i := slices.IndexFunc(t.rows, func(r *row) bool { return r.what == what })
	if i < 0 {
		i = len(t.rows)
		t.rows = append(t.rows, &row{what: what, unit: unit, aim: aim})
	}
	t.rows[i].values = append(t.rows[i].values, values...)
}

func (t *table) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "median\tleast\tmost\taim\t\t  measure")
	for _, r := range t.rows {
		aim, missed := "", ""
		if r.aim > 0 {
			aim = fmt.Sprintf("%.0f", r.aim)
		}
		m := median(r.values)
		if r.aim > 0 && m > r.aim {
			missed = "MISSED"
		}
		fmt.Fprintf(w, "%.1f\t%.1f\t%.1f\t%s\t%s\t  %s, %s\n", m, slices.Min(r.values), slices.Max(r.values), aim, missed, r.what, r.unit)
	}
	return w.Flush()
}

// median is the middle of values, of which there is at least one.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
