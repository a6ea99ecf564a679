// Bench measures a cluster of the built commands from outside, as `make bench` runs it, and prints a table of medians.
//
//	main.go     the table, and which measures are taken
//	process.go  commands that run, their memory, and a client of the API
//	pods.go     how fast pods answer and run
//	api.go      how fast the API writes and tells
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"
)

func main() {
	runs := flag.Int("runs", 5, "how often everything is measured")
	bin := flag.String("bin", "bin", "folder of the built commands and guests")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var t table
	for i := range *runs {
		fmt.Fprintf(os.Stderr, "run %d of %d\n", i+1, *runs)
		if err := measure(ctx, *bin, &t); err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			os.Exit(1)
		}
	}
	if err := t.print(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// measure takes every measure once, each cluster in a new directory.
func measure(ctx context.Context, bin string, t *table) error {
	const patience = 5 * time.Minute
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	dir, err := os.MkdirTemp("", "wherry-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) // what is left is in the system's folder for such things
	b := bench{bin: bin, dir: dir, table: t}
	if err := b.memory(ctx); err != nil {
		return fmt.Errorf("measuring memory: %w", err)
	}
	return b.cluster(ctx)
}

// bench is one run.
type bench struct {
	bin, dir string
	table    *table
}

// cluster measures a one-machine cluster.
func (b *bench) cluster(ctx context.Context) error {
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
	for _, m := range []struct {
		what string
		take func(context.Context, *api) error
	}{
		{"the first byte of a pod", b.firstByte}, {"creates", b.creates}, {"watches", b.watches}, {"a thousand pods", b.thousandPods},
	} {
		if err := m.take(ctx, client); err != nil {
			return fmt.Errorf("measuring %s: %w", m.what, err)
		}
	}
	return b.rss("memory of `wherry up` with 1,000 Wasm pods", 0, up)
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
