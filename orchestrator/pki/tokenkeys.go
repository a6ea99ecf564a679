package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
)

// TokenKeys sign service-account tokens. The newest one signs; all of them verify. All
// methods may be called concurrently.
type TokenKeys struct {
	dir string

	mu      sync.RWMutex
	newest  int
	signers []crypto.Signer // newest first; replaced, never changed
}

// openTokenKeys reads the keys, or makes the first one.
func openTokenKeys(dir string) (*TokenKeys, error) {
	k := &TokenKeys{dir: dir}
	files, newest, err := readRing(dir)
	if err != nil {
		return nil, err
	}
	k.newest = newest
	for _, data := range files {
		signer, err := decodeTokenKey(data)
		if err != nil {
			return nil, fmt.Errorf("%s holds a file that is no key for tokens: %w", dir, err)
		}
		k.signers = slices.Insert(k.signers, 0, signer)
	}
	if len(k.signers) == 0 {
		return k, k.Rotate()
	}
	return k, nil
}

// decodeTokenKey reads PEM with a P-256 key (ES256) or an RSA key of 2048 bits or more (RS256), in PKCS #8.
func decodeTokenKey(data []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("it is not PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		if k.Curve == elliptic.P256() {
			return k, nil
		}
	case *rsa.PrivateKey:
		if k.N.BitLen() >= 2048 {
			return k, nil
		}
	}
	return nil, errors.New("only P-256 keys and RSA keys of at least 2048 bits sign tokens")
}

// Signers are the keys, newest first. The slice is shared: it is not to be changed.
func (k *TokenKeys) Signers() []crypto.Signer {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.signers
}

// Rotate makes a new key, which signs from now on.
func (k *TokenKeys) Rotate() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make a key for tokens: %w", err)
	}
	data, err := encodeKey(key)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.signers) == maxKeys {
		return fmt.Errorf("%s is full: remove the oldest keys", k.dir)
	}
	if err := addToRing(k.dir, k.newest+1, data); err != nil {
		return err
	}
	k.newest++
	k.signers = slices.Concat([]crypto.Signer{key}, k.signers)
	return nil
}

// TokenKeys sign service-account tokens.
func (p *PKI) TokenKeys() *TokenKeys { return p.tokens }

func (p *PKI) loadKeys(dir string) (err error) {
	if p.tokens, err = openTokenKeys(filepath.Join(dir, "tokens")); err != nil {
		return fmt.Errorf("the keys of service-account tokens: %w", err)
	}
	if p.sealer, err = openSealer(filepath.Join(dir, "sealing")); err != nil {
		return fmt.Errorf("the keys that encrypt the state: %w", err)
	}
	return nil
}
