package boltstore_test

import (
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"wherry/orchestrator/store"
	"wherry/orchestrator/store/boltstore"
)

// limitFiles makes every write behind the size fail, as on a full disk.
func limitFiles(t *testing.T, size uint64) (lift func()) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	set := func(l syscall.Rlimit) {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &l); err != nil {
			t.Fatal(err)
		}
	}
	set(syscall.Rlimit{Cur: size, Max: was.Max})
	lift = func() { set(was) }
	t.Cleanup(lift)
	return lift
}

// fullEnv marks the process that is limited: the limit is on all its files, those of go test too.
const fullEnv = "BOLTSTORE_TEST_FULL"

func TestAFullDiskFailsCommitsAndNothingElse(t *testing.T) {
	if os.Getenv(fullEnv) == "" {
		limited := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		limited.Env = append(os.Environ(), fullEnv+"=1")
		if out, err := limited.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	path := filepath.Join(t.TempDir(), "store.db")
	s := open(t, path, boltstore.Options{})
	value := strings.Repeat("v", 10<<10)
	commit(t, s, put("a", value))
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Watch(t.Context(), "", 0)
	if err != nil {
		t.Fatal(err)
	}
	lift := limitFiles(t, uint64(info.Size()))

	last := s.Revision()
	for i := range 1000 {
		var rev store.Revision
		if rev, err = s.Commit(t.Context(), put("fill/"+string(rune('a'+i)), value)); err != nil {
			break
		}
		last = rev
	}
	if err == nil || !strings.Contains(err.Error(), syscall.EFBIG.Error()) { // bbolt does not wrap it
		t.Fatalf("commit to a full disk: %v", err)
	}
	if strings.Contains(err.Error(), path) {
		t.Errorf("clients are told of the server's files: %v", err)
	}
	if s.Revision() != last {
		t.Errorf("revision %d after a commit that failed behind %d", s.Revision(), last)
	}
	if e, err := s.Get(t.Context(), "a"); err != nil || string(e.Value) != value {
		t.Errorf("reading from a full disk: %v", err)
	}
	commit(t, s, lazy("e", "waits in memory"))

	lift()
	rev := commit(t, s, put("b", value))
	left := open(t, crash(t, path), boltstore.Options{})
	for _, key := range []string{"a", "b", "e"} {
		if _, err := left.Get(t.Context(), key); err != nil {
			t.Errorf("%s is not in the file: %v", key, err)
		}
	}
	for through := store.Revision(0); through < rev; {
		var events []store.Event
		if events, through, err = w.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			if _, err := s.Get(t.Context(), e.Entry.Key); err != nil {
				t.Errorf("a watcher was shown %s, which is not there: %v", e.Entry.Key, err)
			}
		}
	}
}
