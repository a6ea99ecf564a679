package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"wherry/orchestrator/state"
)

// Config is what Tokens need. All fields are required.
type Config struct {
	State *state.State
	// Issuers are URLs. The first one is written into tokens, all are accepted.
	Issuers []string
	// Audiences are the API's own: of tokens for which no other is asked. Usually the issuers.
	Audiences []string
	// KeysURL is where others find the keys (RFC 7517).
	KeysURL string
	// Keys returns the keys, newest first; at least one.
	Keys func() []crypto.Signer
}

// Tokens makes and checks tokens. All methods may be called concurrently.
type Tokens struct {
	Config
	verified *cache
}

// New returns Tokens.
func New(c Config) *Tokens { return &Tokens{Config: c, verified: newCache()} }

// ref names an object that a token is bound to.
type ref struct {
	Name string `json:"name,omitempty"`
	UID  string `json:"uid,omitempty"`
}

// bound is the claim kubernetes.io.
type bound struct {
	Namespace string           `json:"namespace,omitempty"`
	Account   ref              `json:"serviceaccount"`
	Pod       *ref             `json:"pod,omitempty"`
	Secret    *ref             `json:"secret,omitempty"`
	Node      *ref             `json:"node,omitempty"`
	WarnAfter *jwt.NumericDate `json:"warnafter,omitempty"`
}

// claims are all that a token says; of Kubernetes and the older ones, the issuer tells which are there.
type claims struct {
	jwt.Claims
	Kubernetes *bound `json:"kubernetes.io,omitempty"`
	legacy
}

// algorithms that are accepted; "none" and shared secrets are not among them.
var algorithms = []jose.SignatureAlgorithm{jose.ES256, jose.RS256}

func algorithm(key crypto.PublicKey) jose.SignatureAlgorithm {
	switch key.(type) {
	case *ecdsa.PublicKey:
		return jose.ES256
	case *rsa.PublicKey:
		return jose.RS256
	}
	return ""
}

// keyID is the kid of a key, as Kubernetes makes it: the SHA-256 of its PKIX form.
func keyID(public crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

// sign makes a token of claims.
func (t *Tokens) sign(c *claims) (string, error) {
	key := t.Keys()[0]
	id, err := keyID(key.Public())
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm(key.Public()), Key: jose.JSONWebKey{Key: key, KeyID: id}}, nil)
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	token, err := jwt.Signed(signer).Claims(c).Serialize()
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	return token, nil
}

// publicKey finds the key with an id. Without an id every key may be meant.
func (t *Tokens) publicKeys(id string) (keys []crypto.PublicKey) {
	for _, signer := range t.Keys() {
		if have, err := keyID(signer.Public()); err == nil && (id == "" || have == id) {
			keys = append(keys, signer.Public())
		}
	}
	return keys
}

// KeySet is what others verify tokens with (RFC 7517).
func (t *Tokens) KeySet() (*jose.JSONWebKeySet, error) {
	set := &jose.JSONWebKeySet{}
	for _, signer := range t.Keys() {
		id, err := keyID(signer.Public())
		if err != nil {
			return nil, fmt.Errorf("list the keys of tokens: %w", err)
		}
		set.Keys = append(set.Keys, jose.JSONWebKey{
			Key: signer.Public(), KeyID: id, Use: "sig", Algorithm: string(algorithm(signer.Public())),
		})
	}
	return set, nil
}

// Algorithms are those of the keys, each once.
func (t *Tokens) Algorithms() []string {
	var all []string
	for _, signer := range t.Keys() {
		if a := string(algorithm(signer.Public())); !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return all
}
