package nodelink

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Token lets a machine join a cluster: it names a secret that the control plane knows
// (ID and Secret, in the alphabet of Kubernetes' bootstrap tokens) and the key of the CA that
// the machine must find there. It is written
//
//	wherry1.<id, 6>.<secret, 16>.<hex SHA-256 of the CA's SubjectPublicKeyInfo>
type Token struct {
	ID, Secret string
	CAHash     string // as KeyHash makes it
}

const tokenPrefix = "wherry1"

var errToken = errors.New("not a join token: it looks like wherry1.<6 characters>.<16 characters>.<64 hexadecimal digits>")

func (t Token) String() string {
	return strings.Join([]string{tokenPrefix, t.ID, t.Secret, t.CAHash}, ".")
}

// ParseToken reads what String writes. The error does not repeat the secret.
func ParseToken(s string) (Token, error) {
	parts := strings.Split(strings.TrimSpace(s), ".")
	if len(parts) != 4 || parts[0] != tokenPrefix {
		return Token{}, errToken
	}
	t := Token{ID: parts[1], Secret: parts[2], CAHash: parts[3]}
	return t, t.check()
}

func (t Token) check() error {
	if !plain(t.ID, 6) || !plain(t.Secret, 16) {
		return errToken
	}
	if h, err := hex.DecodeString(t.CAHash); err != nil || len(h) != sha256.Size || strings.ToLower(t.CAHash) != t.CAHash {
		return fmt.Errorf("%w; the last part is damaged", errToken)
	}
	return nil
}

// plain says whether s is n characters of [a-z0-9].
func plain(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// KeyHash is the lower-case hexadecimal SHA-256 of a SubjectPublicKeyInfo, DER.
func KeyHash(spki []byte) string {
	sum := sha256.Sum256(spki)
	return hex.EncodeToString(sum[:])
}
