package sealed_test

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"wherry/orchestrator/store"
	"wherry/orchestrator/store/boltstore"
	"wherry/orchestrator/store/memstore"
	"wherry/orchestrator/store/sealed"
	"wherry/orchestrator/store/storetest"
)

// letters seals with one byte per key: the mark, the key, the name, and the value with its bits turned.
type letters struct{ newest, known string }

var errUnknown = errors.New("unknown key")

func (l *letters) Seal(key string, plain []byte) []byte {
	return append([]byte("!"+l.newest+key+"\n"), turn(plain)...)
}

func turn(b []byte) []byte {
	out := []byte{}
	for _, c := range b {
		out = append(out, ^c)
	}
	return out
}

func (l *letters) Open(key string, value []byte) (plain []byte, sealed, fresh bool, err error) {
	if len(value) < 2 || value[0] != '!' {
		return value, false, false, nil
	}
	body, ok := bytes.CutPrefix(value[2:], []byte(key+"\n"))
	if !ok || !strings.Contains(l.known, string(value[1])) {
		return nil, true, false, errUnknown
	}
	return turn(body), true, string(value[1]) == l.newest, nil
}

func all(string) bool { return true }

func some(key string) bool { return strings.HasPrefix(key, "/core/secrets/") }

// turner turns the bits of every value, and makes none longer: the suite tries the largest.
type turner struct{}

func (turner) Seal(_ string, plain []byte) []byte { return turn(plain) }

func (turner) Open(_ string, value []byte) (plain []byte, sealed, fresh bool, err error) {
	return turn(value), true, true, nil
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return sealed.New(memstore.New(), turner{}, all) })
}

// put writes a value and returns its revision.
func put(t *testing.T, s store.Store, key, value string) store.Revision {
	t.Helper()
	r, err := s.Commit(t.Context(), store.Op{Key: key, Value: []byte(value)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func value(t *testing.T, s store.Store, key string) string {
	t.Helper()
	e, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(e.Value)
}

func TestReseal(t *testing.T) {
	inner := memstore.New()
	t.Cleanup(func() {
		if err := inner.Close(); err != nil {
			t.Error(err)
		}
	})
	const secret, plain = "/core/secrets/n/s", "/core/configmaps/n/c"
	old := put(t, inner, secret, "first")
	put(t, inner, plain, "open")
	for i := range 1200 { // more than a page
		put(t, inner, fmt.Sprintf("/core/secrets/n/t%04d", i), "x")
	}
	keys := &letters{"a", "a"}
	s := sealed.New(inner, keys, some)
	if got := value(t, s, secret); got != "first" {
		t.Errorf("a plain value reads as %q", got)
	}
	reseal := func(s *sealed.Store, want int) {
		t.Helper()
		if n, err := s.Reseal(t.Context()); n != want || err != nil {
			t.Errorf("%d written anew, %v; want %d", n, err, want)
		}
		if got := value(t, s, secret); got != "first" {
			t.Errorf("it reads as %q", got)
		}
	}
	reseal(s, 1201)
	if got := value(t, inner, secret); !strings.HasPrefix(got, "!a") || value(t, inner, plain) != "open" {
		t.Errorf("stored: %q, %q", got, value(t, inner, plain))
	}
	if _, err := inner.List(t.Context(), "/", store.ListOptions{Revision: old}); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("the history of plain values: %v", err)
	}
	reseal(s, 0)
	keys.newest, keys.known = "b", "ab"
	reseal(s, 1201)
	keys.known = "b"
	reseal(s, 0) // nothing needs the old key
	reseal(sealed.New(inner, keys, func(string) bool { return false }), 1201)
	if got := value(t, inner, secret); got != "first" {
		t.Errorf("no longer a secret: %q", got)
	}
}

func TestValuesThatDoNotOpen(t *testing.T) {
	inner := memstore.New()
	keys := &letters{"a", "a"}
	s := sealed.New(inner, keys, some)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	rev := put(t, s, "/core/secrets/n/s", "x")
	stolen := value(t, inner, "/core/secrets/n/s")
	put(t, inner, "/core/secrets/other/s", stolen)
	check := func(key string) {
		t.Helper()
		_, getErr := s.Get(t.Context(), key)
		_, listErr := s.List(t.Context(), key, store.ListOptions{})
		w, err := s.Watch(t.Context(), key, rev-1)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		_, _, watchErr := w.Next(t.Context())
		_, commitErr := s.Commit(t.Context(), store.Op{Key: key, Value: []byte("y"), If: store.At(0)})
		for _, err := range []error{getErr, listErr, watchErr, commitErr} {
			if !errors.Is(err, errUnknown) || !strings.Contains(err.Error(), key) {
				t.Errorf("%s: %v", key, err)
			}
		}
		if _, err := s.Reseal(t.Context()); !errors.Is(err, errUnknown) {
			t.Errorf("reseal: %v", err)
		}
	}
	check("/core/secrets/other/s")
	keys.newest, keys.known = "b", "b"
	check("/core/secrets/n/s")
}

// BenchmarkCommit is one writer of values of 1 KiB.
func BenchmarkCommit(b *testing.B) {
	for name, secrets := range map[string]func(string) bool{"sealed": all, "plain": func(string) bool { return false }} {
		b.Run(name, func(b *testing.B) {
			inner, err := boltstore.Open(filepath.Join(b.TempDir(), "s.db"), boltstore.Options{})
			if err != nil {
				b.Fatal(err)
			}
			s := sealed.New(inner, &letters{"a", "a"}, secrets)
			defer s.Close()
			v := make([]byte, 1024)
			for b.Loop() {
				if _, err := s.Commit(b.Context(), store.Op{Key: "/a", Value: v}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
