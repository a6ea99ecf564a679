package pki

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestTokenKeysAreKeptAndTheNewestIsFirst(t *testing.T) {
	dir := t.TempDir()
	p := open(t, dir, Options{})
	first := p.TokenKeys().Signers()
	if err := p.TokenKeys().Rotate(); err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	data, err := encodeKey(rsaKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tokens", "000007.key"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	signers := open(t, dir, Options{}).TokenKeys().Signers()
	if len(signers) != 3 || !rsaKey.PublicKey.Equal(signers[0].Public()) || !same(signers[2], first[0]) || !same(signers[1], p.TokenKeys().Signers()[0]) {
		t.Fatalf("not the same keys in order after a restart: %v", signers)
	}
	again := open(t, dir, Options{})
	if err := again.TokenKeys().Rotate(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "tokens", "000008.key")); err != nil {
		t.Error("the next number was not taken:", err)
	}
}

func same(a, b crypto.Signer) bool {
	return a.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(b.Public())
}

func TestBadKeysAreNamed(t *testing.T) {
	for _, file := range []string{"tokens/000001.key", "sealing/000001.key"} {
		dir := t.TempDir()
		open(t, dir, Options{})
		if err := os.WriteFile(filepath.Join(dir, file), []byte("nonsense"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, Options{}); err == nil {
			t.Errorf("%s was taken as a key", file)
		} else {
			t.Log(err)
		}
	}
}

func TestSealing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{}).Sealer()
	const name = "/core/secrets/default/a"
	old := s.Seal(name, []byte("plain"))
	if bytes.Contains(old, []byte("plain")) || bytes.Equal(old, s.Seal(name, []byte("plain"))) {
		t.Error("not encrypted, or twice the same")
	}
	check := func(s *Sealer, value []byte, fresh bool) {
		t.Helper()
		got, _, isFresh, err := s.Open(name, value)
		if err != nil || string(got) != "plain" || isFresh != fresh {
			t.Errorf("%q, fresh %t, %v", got, isFresh, err)
		}
	}
	check(s, old, true)
	check(s, []byte("plain"), false)
	before := s.Key()
	if err := s.Rotate(); err != nil {
		t.Fatal(err)
	}
	check(s, old, false)
	again := open(t, dir, Options{}).Sealer()
	check(again, old, false)
	check(again, s.Seal(name, []byte("plain")), true)
	if again.Key() != s.Key() || before == s.Key() {
		t.Errorf("keys %s, %s, %s", before, s.Key(), again.Key())
	}
}

func TestWhatDoesNotOpen(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{}).Sealer()
	value := s.Seal("/a", []byte("plain"))
	if _, _, _, err := s.Open("/b", value); !errors.Is(err, ErrSealed) {
		t.Errorf("a value at another place: %v", err)
	}
	for i := range value {
		damaged := bytes.Clone(value)
		damaged[i] ^= 1
		got, _, _, err := s.Open("/a", damaged)
		// Without its mark it is a plain value, for somebody else to refuse.
		if err == nil && (i >= len(sealedMagic) || !bytes.Equal(got, damaged)) {
			t.Errorf("byte %d changed: %q", i, got)
		}
	}
	for n := len(sealedMagic); n < len(value); n++ {
		if _, _, _, err := s.Open("/a", value[:n]); err == nil {
			t.Errorf("cut to %d bytes it opened", n)
		}
	}
	if err := os.Remove(filepath.Join(dir, "sealing", "000001.key")); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := open(t, dir, Options{}).Sealer().Open("/a", value); !errors.Is(err, ErrSealKey) {
		t.Errorf("without its key: %v", err)
	} else {
		t.Log(err)
	}
}

func FuzzOpen(f *testing.F) {
	s, err := openSealer(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s.Seal("/a", []byte("x")))
	f.Add([]byte("sealed\x00\x01"))
	f.Fuzz(func(t *testing.T, value []byte) {
		if plain, _, _, err := s.Open("/b", value); err == nil && !bytes.Equal(plain, value) {
			t.Errorf("%q opened as %q", value, plain)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	s, err := openSealer(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	plain := make([]byte, 1024)
	b.SetBytes(1024)
	for b.Loop() {
		s.Seal("/core/secrets/default/a", plain)
	}
}
