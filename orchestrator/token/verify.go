package token

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
	corev1 "k8s.io/api/core/v1"

	"wherry/orchestrator/state"
)

// ErrNotOurs says that a token is no JWT of this cluster: somebody else may know it.
var ErrNotOurs = errors.New("the token is not of this cluster's service accounts")

// maxToken bounds a token, in bytes.
const maxToken = 16 << 10

// Identity is what a token proves.
type Identity struct {
	Namespace, Name, UID string
	// Pod, Node are what the token is bound to; "" if it is not.
	PodName, PodUID, NodeName, NodeUID string
	// ID is the token's own; "" if it has none.
	ID string
	// Audiences are those that were asked for and that the token is good for.
	Audiences []string
}

// Verify checks a token for one of the audiences; none means the API's. Errors: ErrNotOurs, else why it is not good.
func (t *Tokens) Verify(token string, audiences []string) (*Identity, error) {
	if len(token) > maxToken {
		return nil, ErrNotOurs
	}
	c, err := t.read(token)
	if err != nil {
		return nil, err
	}
	good, err := t.audience(c, audiences)
	if err != nil {
		return nil, err
	}
	id, err := t.alive(c, token)
	if err != nil {
		return nil, err
	}
	id.Audiences = good
	return id, nil
}

// issuer reads who a token says made it, before anything is proven; "" if it is no JWT.
func issuer(token string) string {
	header, rest, ok := strings.Cut(token, ".")
	payload, signature, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 || header == "" || strings.Contains(signature, ".") {
		return ""
	}
	data, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return ""
	}
	var c struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(data, &c) != nil {
		return ""
	}
	return c.Issuer
}

func (t *Tokens) mine(issuer string) bool {
	return issuer != "" && (issuer == legacyIssuer || slices.Contains(t.Issuers, issuer))
}

// read returns what the token says, if this cluster has signed it. The result is shared.
func (t *Tokens) read(token string) (*claims, error) {
	if c := t.verified.get(token); c != nil {
		return c, nil
	}
	if !t.mine(issuer(token)) {
		return nil, ErrNotOurs
	}
	c, err := t.signed(token)
	if err == nil {
		t.verified.put(token, c)
	}
	return c, err
}

// signed checks the signature.
func (t *Tokens) signed(token string) (*claims, error) {
	parsed, err := jwt.ParseSigned(token, algorithms)
	if err != nil {
		return nil, fmt.Errorf("the token is malformed: %w", err)
	}
	keys := t.publicKeys(parsed.Headers[0].KeyID)
	if len(keys) == 0 {
		return nil, errors.New("invalid signature, no keys found")
	}
	for _, key := range keys {
		c := &claims{}
		if parsed.Headers[0].Algorithm == string(algorithm(key)) && parsed.Claims(key, c) == nil {
			if !t.mine(c.Issuer) {
				break // it was read otherwise before the signature was checked
			}
			return c, nil
		}
	}
	return nil, errors.New("invalid signature")
}

// audience returns the wanted audiences that the token has. One that names none is for the API.
func (t *Tokens) audience(c *claims, want []string) ([]string, error) {
	have := []string(c.Audience)
	if len(have) == 0 {
		have = t.Audiences
	}
	if len(want) == 0 {
		want = t.Audiences
	}
	var both []string
	for _, a := range have {
		if slices.Contains(want, a) {
			both = append(both, a)
		}
	}
	if len(both) == 0 {
		return nil, fmt.Errorf("token audiences %q is invalid for the target audiences %q", have, want)
	}
	return both, nil
}

// alive judges the token's time, and looks whether what it is bound to is still there.
func (t *Tokens) alive(c *claims, token string) (*Identity, error) {
	now := time.Now()
	switch err := c.Validate(jwt.Expected{Time: now}); {
	case errors.Is(err, jwt.ErrExpired):
		return nil, errors.New("service account token has expired")
	case errors.Is(err, jwt.ErrNotValidYet):
		return nil, errors.New("service account token is not valid yet")
	case errors.Is(err, jwt.ErrIssuedInTheFuture):
		return nil, errors.New("service account token is issued in the future")
	case err != nil:
		return nil, fmt.Errorf("service account token claims could not be validated: %w", err)
	}
	if c.Issuer == legacyIssuer {
		return c.legacy.alive(t.State, c.Subject, token)
	}
	b := c.Kubernetes
	if b == nil || c.Expiry == nil || c.Subject != username(b.Namespace, b.Account.Name) {
		return nil, errors.New("a claim of the service account token is missing")
	}
	if err := t.there(b, now.Add(-jwt.DefaultLeeway)); err != nil {
		return nil, err
	}
	return b.identity(c.ID), nil
}

// there looks up everything that the token is bound to. What was deleted after since still counts as there.
func (t *Tokens) there(b *bound, since time.Time) error {
	account, ok := state.Get[*corev1.ServiceAccount](t.State, b.Namespace, b.Account.Name)
	switch {
	case !ok:
		return fmt.Errorf("serviceaccounts %q not found", b.Account.Name)
	case string(account.UID) != b.Account.UID:
		return fmt.Errorf("service account UID (%s) does not match claim (%s)", account.UID, b.Account.UID)
	case deleted(account, since):
		return fmt.Errorf("service account %s/%s has been deleted", b.Namespace, b.Account.Name)
	}
	if err := same[*corev1.Secret](t.State, b.Namespace, b.Secret, "secret", since); err != nil {
		return err
	}
	if err := same[*corev1.Pod](t.State, b.Namespace, b.Pod, "pod", since); err != nil {
		return err
	}
	if b.Pod != nil {
		return nil // the node is told for information
	}
	return same[*corev1.Node](t.State, "", b.Node, "node", since)
}

// same looks whether the object that a token is bound to, if it is, is there and not another one of its name.
func same[T state.Object](s *state.State, namespace string, r *ref, what string, since time.Time) error {
	if r == nil {
		return nil
	}
	obj, ok := state.Get[T](s, namespace, r.Name)
	switch {
	case !ok:
		return errors.New("service account token has been invalidated")
	case string(obj.GetUID()) != r.UID:
		return fmt.Errorf("%s UID (%s) does not match service account %s ref claim (%s)", what, obj.GetUID(), what, r.UID)
	case deleted(obj, since):
		return errors.New("service account token has been invalidated")
	}
	return nil
}

func deleted(obj state.Object, since time.Time) bool {
	at := obj.GetDeletionTimestamp()
	return at != nil && at.Time.Before(since)
}

func (b *bound) identity(id string) *Identity {
	i := &Identity{Namespace: b.Namespace, Name: b.Account.Name, UID: b.Account.UID, ID: id}
	if b.Pod != nil {
		i.PodName, i.PodUID = b.Pod.Name, b.Pod.UID
	}
	if b.Node != nil {
		i.NodeName, i.NodeUID = b.Node.Name, b.Node.UID
	}
	return i
}
