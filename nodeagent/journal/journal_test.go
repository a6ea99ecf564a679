package journal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"wherry/proto/nodelink"
)

func openAt(t *testing.T, path string) *Journal {
	t.Helper()
	j, err := Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func reopen(t *testing.T, j *Journal) *Journal {
	t.Helper()
	path := j.db.Path()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return openAt(t, path)
}

func change(kind nodelink.Kind, name string, revision uint64, object string) *nodelink.Change {
	return &nodelink.Change{Kind: kind, Namespace: "default", Name: name, Uid: "u-" + name, Revision: revision, Object: []byte(object)}
}

func apply(t *testing.T, j *Journal, changes ...*nodelink.Change) {
	t.Helper()
	if err := j.Apply(changes); err != nil {
		t.Fatal(err)
	}
}

func show(j *Journal) string {
	var all []string
	for _, c := range j.Objects() {
		all = append(all, fmt.Sprintf("%s@%d=%s", c.GetName(), c.GetRevision(), c.GetObject()))
	}
	return strings.Join(all, " ")
}

func TestObjects(t *testing.T) {
	j := openAt(t, filepath.Join(t.TempDir(), "agent", "journal.db"))
	apply(t, j, change(nodelink.Kind_KIND_POD, "b", 1, "x"), change(nodelink.Kind_KIND_POD, "a", 2, "y"), change(nodelink.Kind_KIND_SECRET, "a", 3, "z"))
	apply(t, j, change(nodelink.Kind_KIND_POD, "b", 4, "new"), change(nodelink.Kind_KIND_POD, "a", 5, ""))
	for range 2 {
		if got, want := show(j), "b@4=new a@3=z"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		j = reopen(t, j)
	}
	info, err := os.Stat(j.db.Path())
	if err != nil || info.Mode().Perm()&0o077 != 0 && os.PathSeparator == '/' {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestAnotherOfTheName(t *testing.T) {
	j := openAt(t, filepath.Join(t.TempDir(), "journal.db"))
	old, newer, gone := change(nodelink.Kind_KIND_POD, "a", 1, "old"), change(nodelink.Kind_KIND_POD, "a", 2, "new"), change(nodelink.Kind_KIND_POD, "a", 3, "")
	newer.Uid = "another"
	apply(t, j, old, newer, gone) // gone is the old one
	for range 2 {
		if got, want := show(j), "a@2=new"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		j = reopen(t, j)
	}
}

func TestWelcome(t *testing.T) {
	j := openAt(t, filepath.Join(t.TempDir(), "journal.db"))
	if j.Welcome() != nil {
		t.Error("a welcome from nobody")
	}
	w := &nodelink.Welcome{ClusterId: "c1", PodCidr: "10.42.1.0/24"}
	if err := j.SetWelcome(w); err != nil {
		t.Fatal(err)
	}
	j = reopen(t, j)
	if !proto.Equal(j.Welcome(), w) {
		t.Errorf("got %v", j.Welcome())
	}
	if err := j.SetWelcome(&nodelink.Welcome{ClusterId: "c2"}); !errors.Is(err, ErrOtherCluster) {
		t.Errorf("another cluster: %v", err)
	}
}

func TestStatuses(t *testing.T) {
	j := openAt(t, filepath.Join(t.TempDir(), "journal.db"))
	newest := &nodelink.PodStatus{Uid: "u", Status: []byte("2")}
	j.Note(&nodelink.PodStatus{Uid: "u", Status: []byte("1")})
	j.Note(newest)
	j.Note(&nodelink.PodStatus{Uid: "other", Gone: true})
	j = reopen(t, j)
	if !proto.Equal(j.Status("u"), newest) || len(j.Statuses()) != 2 {
		t.Fatalf("statuses: %v", j.Statuses())
	}
	j.Forget("other")
	j.Forget("unknown")
	if j = reopen(t, j); j.Status("other") != nil || len(j.Statuses()) != 1 {
		t.Errorf("still there: %v", j.Statuses())
	}
}

func TestHave(t *testing.T) {
	j := openAt(t, filepath.Join(t.TempDir(), "journal.db"))
	apply(t, j, change(nodelink.Kind_KIND_POD, "a", 7, "x"))
	want := &nodelink.Have{Kind: nodelink.Kind_KIND_POD, Namespace: "default", Name: "a", Uid: "u-a", Revision: 7}
	if have := j.Have(); len(have) != 1 || !proto.Equal(have[0], want) {
		t.Errorf("have %v", have)
	}
}

// onFile counts the statuses in the file.
func onFile(t *testing.T, j *Journal) (n int) {
	err := j.db.View(func(tx *bbolt.Tx) error {
		n = tx.Bucket(statusesBucket).Stats().KeyN
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestStatusesAreWrittenTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := openAt(t, filepath.Join(t.TempDir(), "journal.db"))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- j.Run(ctx) }()
		for i := range 100 {
			j.Note(&nodelink.PodStatus{Uid: strconv.Itoa(i)})
		}
		<-time.After(flushDelay - 1)
		if n := onFile(t, j); n != 0 {
			t.Errorf("%d are written already", n)
		}
		<-time.After(1)
		synctest.Wait()
		if n := onFile(t, j); n != 100 {
			t.Errorf("%d are written", n)
		}
		j.Note(&nodelink.PodStatus{Uid: "rides"})
		apply(t, j, change(nodelink.Kind_KIND_POD, "a", 1, "x"))
		if n := onFile(t, j); n != 101 {
			t.Errorf("it does not ride: %d", n)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		j.Close()
	})
}

func TestLocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // so that waiting for the lock takes no time
		j := openAt(t, filepath.Join(t.TempDir(), "journal.db"))
		if _, err := Open(j.db.Path(), nil); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), j.db.Path()) {
			t.Errorf("got %v", err)
		}
		j.Close()
	})
}

func TestDamaged(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "journal.db")
	j := openAt(t, whole)
	apply(t, j, change(nodelink.Kind_KIND_POD, "a", 1, "x"))
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	for name, broken := range map[string][]byte{
		"text":     []byte(strings.Repeat("this is no journal\n", 1000)),
		"zeros":    make([]byte, len(data)),
		"no metas": append(make([]byte, 2*os.Getpagesize()), data[2*os.Getpagesize():]...),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "journal.db")
			if err := os.WriteFile(path, broken, 0o600); err != nil {
				t.Fatal(err)
			}
			j := openAt(t, path)
			apply(t, j, change(nodelink.Kind_KIND_POD, "b", 1, "x"))
			aside, err := filepath.Glob(path + ".damaged-*")
			if err != nil || len(aside) != 1 {
				t.Errorf("put aside: %v, %v", aside, err)
			}
		})
	}
}

func TestNewerFormat(t *testing.T) {
	j := openAt(t, filepath.Join(t.TempDir(), "journal.db"))
	err := j.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put(formatKey, []byte("2")) })
	if err != nil {
		t.Fatal(err)
	}
	path := j.db.Path()
	j.Close()
	if _, err := Open(path, nil); !errors.Is(err, ErrFormat) {
		t.Errorf("got %v", err)
	}
}

// TestKill kills a process that writes, again and again; what it had said to be durable must be there.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	acknowledged := 0
	for range 5 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKillHelper$")
		cmd.Env = append(os.Environ(), "JOURNAL_PATH="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; n < 20 && lines.Scan(); n++ {
			if i, err := strconv.Atoi(lines.Text()); err == nil {
				acknowledged = i
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait() // its error is the kill
		j := openAt(t, path)
		if all := j.Objects(); len(all) != 1 || all[0].GetRevision() < uint64(acknowledged) {
			t.Fatalf("after %d: %v", acknowledged, all)
		}
		j.Close()
	}
	if acknowledged < 50 {
		t.Errorf("only %d were acknowledged", acknowledged)
	}
}

func TestKillHelper(t *testing.T) {
	path := os.Getenv("JOURNAL_PATH")
	if path == "" {
		t.Skip("this is the process that TestKill kills")
	}
	j := openAt(t, path)
	next := uint64(1)
	for _, c := range j.Objects() {
		next = c.GetRevision() + 1
	}
	for {
		apply(t, j, change(nodelink.Kind_KIND_POD, "a", next, strings.Repeat("x", 3000)))
		fmt.Println(next)
		next++
	}
}

func BenchmarkApply(b *testing.B) {
	j, err := Open(filepath.Join(b.TempDir(), "journal.db"), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	object := strings.Repeat("x", 3000)
	for i := 0; b.Loop(); i++ {
		if err := j.Apply([]*nodelink.Change{change(nodelink.Kind_KIND_POD, strconv.Itoa(i%100), uint64(i), object)}); err != nil {
			b.Fatal(err)
		}
	}
}
