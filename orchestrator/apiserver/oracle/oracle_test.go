package oracle

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"testing"
	"time"
)

var (
	seed    = flag.Uint64("seed", 1, "of everything that is random")
	rounds  = flag.Int("rounds", 1, "how often each kind is gone through")
	stories = flag.Bool("stories", true, "show the commands behind each difference")
)

// pair is what all tests ask.
var pair *Pair

func TestMain(m *testing.M) {
	if mine, err := Role(); mine {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "oracle:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	accepted, err := ReadAccepted("differences.txt")
	if err != nil {
		return 1, err
	}
	dir, err := os.MkdirTemp("", "oracle")
	if err != nil {
		return 1, err
	}
	begun := time.Now()
	p, err := Start(ctx, dir, accepted)
	if err != nil {
		return 1, err
	}
	fmt.Printf("both servers are ready after %v; their files are in %s\n", time.Since(begun).Round(time.Millisecond), dir)
	begun, pair = time.Now(), p
	code = m.Run()
	if p.Ledger.Report(os.Stdout, *stories) > 0 {
		code = 1
	}
	fmt.Printf("%d requests in %v, seed %d\n", p.Ledger.Requests(), time.Since(begun).Round(time.Second), *seed)
	err = errors.Join(p.Theirs.Close(), p.Ours.Close())
	if code == 0 && err == nil {
		err = os.RemoveAll(filepath.Clean(dir))
	}
	return code, err
}
