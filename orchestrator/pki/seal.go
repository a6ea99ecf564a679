package pki

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// A sealed value:
//
//	"sealed\x00\x01"   8 bytes; no plain value begins like this
//	key id             8 bytes: the beginning of SHA-256 of the key
//	nonce              12 bytes, random
//	ciphertext, tag    AES-256-GCM; the additional data is what comes before, and the name
//
// The name is the key in the store: a value that was moved to another name does not open. With random
// nonces a key is good for 2^32 values (NIST SP 800-38D, 8.3).
var sealedMagic = []byte("sealed\x00\x01")

const (
	sealKeySize = 32
	sealIDSize  = 8
	sealNonce   = 12
	sealHeader  = 8 + sealIDSize
)

// Errors of Open.
var (
	ErrSealKey = errors.New("it is encrypted with a key that is not here")
	ErrSealed  = errors.New("it is encrypted, and damaged or moved from another place")
)

// Sealer encrypts values at rest. The newest key encrypts; all of them decrypt. All methods may be called
// concurrently.
type Sealer struct {
	dir string

	mu     sync.RWMutex
	number int
	newest *sealKey
	keys   map[string]*sealKey // by id
}

type sealKey struct {
	header []byte // of the values that it sealed
	aead   cipher.AEAD
}

func openSealer(dir string) (*Sealer, error) {
	s := &Sealer{dir: dir, keys: map[string]*sealKey{}}
	files, number, err := readRing(dir)
	if err != nil {
		return nil, err
	}
	for _, data := range files {
		if err := s.add(data); err != nil {
			return nil, fmt.Errorf("in %s: %w", dir, err)
		}
	}
	s.number = number
	if s.newest == nil {
		return s, s.Rotate()
	}
	return s, nil
}

// add makes a key the newest.
func (s *Sealer) add(key []byte) error {
	if len(key) != sealKeySize {
		return fmt.Errorf("a key has %d bytes, not %d", len(key), sealKeySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return err
	}
	id := sha256.Sum256(key)
	s.newest = &sealKey{header: slices.Concat(sealedMagic, id[:sealIDSize]), aead: aead}
	s.keys[string(id[:sealIDSize])] = s.newest
	return nil
}

// Rotate makes a new key, which encrypts from now on.
func (s *Sealer) Rotate() error {
	key := make([]byte, sealKeySize)
	rand.Read(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.keys) == maxKeys {
		return fmt.Errorf("%s is full: remove the oldest keys, once no snapshot needs them", s.dir)
	}
	if err := addToRing(s.dir, s.number+1, key); err != nil {
		return err
	}
	s.number++
	return s.add(key)
}

// Key names the key that encrypts now.
func (s *Sealer) Key() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return hex.EncodeToString(s.newest.header[len(sealedMagic):])
}

// Seal encrypts the value of a name.
func (s *Sealer) Seal(name string, plain []byte) []byte {
	s.mu.RLock()
	k := s.newest
	s.mu.RUnlock()
	out := make([]byte, sealHeader+sealNonce, sealHeader+sealNonce+len(plain)+k.aead.Overhead())
	copy(out, k.header)
	rand.Read(out[sealHeader:])
	return k.aead.Seal(out, out[sealHeader:], plain, additional(k.header, name))
}

// Open decrypts what Seal made for the name; what is not sealed is returned as it is. sealed and fresh say that it was,
// and with the newest key. Errors: ErrSealKey, ErrSealed.
func (s *Sealer) Open(name string, value []byte) (plain []byte, sealed, fresh bool, err error) {
	if !bytes.HasPrefix(value, sealedMagic) {
		return value, false, false, nil
	}
	if len(value) < sealHeader+sealNonce {
		return nil, true, false, ErrSealed
	}
	id := value[len(sealedMagic):sealHeader]
	s.mu.RLock()
	k, newest := s.keys[string(id)], s.newest
	s.mu.RUnlock()
	if k == nil {
		return nil, true, false, fmt.Errorf("%w: put the file of key %x back into %s, from a backup", ErrSealKey, id, s.dir)
	}
	nonce, box := value[sealHeader:sealHeader+sealNonce], value[sealHeader+sealNonce:]
	plain, err = k.aead.Open([]byte{}, nonce, box, additional(k.header, name))
	if err != nil {
		return nil, true, false, ErrSealed
	}
	return plain, true, k == newest, nil
}

func additional(header []byte, name string) []byte {
	return append(header[:len(header):len(header)], name...)
}

// Sealer encrypts values at rest.
func (p *PKI) Sealer() *Sealer { return p.sealer }
