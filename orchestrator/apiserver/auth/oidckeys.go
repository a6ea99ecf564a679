package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	fetchTimeout = 10 * time.Second
	maxFetch     = 1 << 20 // bytes of an issuer's document
	maxFetchKeys = 100
	// keysFresh is how long keys are used before they are fetched again; keysPause how long at least passes between
	// two fetches, so that tokens with made-up key ids cannot flood the issuer.
	keysFresh = time.Hour
	keysPause = 10 * time.Second
)

// remoteKeys are an issuer's keys (OpenID Connect Discovery 1.0, section 4; RFC 7517), fetched when they are needed: at
// first, when a token names one that is not there, and when they are old.
type remoteKeys struct {
	issuer string
	client *http.Client
	turn   chan struct{} // holds a token unless somebody fetches

	mu      sync.Mutex // guards what follows
	keys    []jose.JSONWebKey
	fetched time.Time // zero: never
	tried   time.Time
	err     error // of the last attempt
}

func newRemoteKeys(issuer string, transport http.RoundTripper) *remoteKeys {
	r := &remoteKeys{issuer: issuer, turn: make(chan struct{}, 1)}
	r.client = &http.Client{Transport: transport, Timeout: fetchTimeout, CheckRedirect: sameScheme}
	r.turn <- struct{}{}
	return r
}

func sameScheme(r *http.Request, via []*http.Request) error {
	if r.URL.Scheme != "https" || len(via) > 3 {
		return errors.New("the issuer redirects to somewhere else than https, or too often")
	}
	return nil
}

// find returns the keys with an id; without an id all of them. Old keys do while somebody fetches new ones.
func (r *remoteKeys) find(ctx context.Context, id string) ([]jose.JSONWebKey, error) {
	found, due, err := r.look(id)
	if !due {
		return found, err
	}
	if len(found) > 0 {
		select {
		case <-r.turn:
		default:
			return found, nil
		}
	} else {
		select {
		case <-r.turn:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	defer func() { r.turn <- struct{}{} }()
	if _, due, _ = r.look(id); due {
		r.refresh(ctx)
	}
	found, _, err = r.look(id)
	return found, err
}

// look returns the keys with an id, whether it is time to fetch, and why there are none.
func (r *remoteKeys) look(id string) (found []jose.JSONWebKey, due bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, key := range r.keys {
		if id == "" || key.KeyID == id {
			found = append(found, key)
		}
	}
	now := time.Now()
	due = (len(found) == 0 || now.Sub(r.fetched) >= keysFresh) && (r.tried.IsZero() || now.Sub(r.tried) >= keysPause)
	switch {
	case len(found) > 0:
	case r.err != nil:
		err = r.err
	default:
		err = errors.New("failed to verify signature: no key of the issuer has the token's key id")
	}
	return found, due, err
}

// refresh fetches the keys. It does not end with the request that needed them: others need them, too.
func (r *remoteKeys) refresh(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
	defer cancel()
	keys, err := r.fetch(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tried, r.err = time.Now(), err
	if err == nil {
		r.keys, r.fetched = keys, r.tried
	}
}

// fetch asks the issuer for the address of its keys, and then for them.
func (r *remoteKeys) fetch(ctx context.Context) ([]jose.JSONWebKey, error) {
	var provider struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := r.get(ctx, strings.TrimSuffix(r.issuer, "/")+"/.well-known/openid-configuration", &provider); err != nil {
		return nil, fmt.Errorf("ask the issuer: %w", err)
	}
	if provider.Issuer != r.issuer {
		return nil, fmt.Errorf("the issuer calls itself %q, not %q", provider.Issuer, r.issuer)
	}
	if u, err := url.Parse(provider.Keys); err != nil || u.Scheme != "https" {
		return nil, fmt.Errorf("the issuer's keys are at %q, which is no https URL", provider.Keys)
	}
	var set jose.JSONWebKeySet
	if err := r.get(ctx, provider.Keys, &set); err != nil {
		return nil, fmt.Errorf("get the issuer's keys: %w", err)
	}
	var keys []jose.JSONWebKey
	for _, k := range set.Keys {
		if k.Valid() && k.IsPublic() && (k.Use == "" || k.Use == "sig") {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 || len(keys) > maxFetchKeys {
		return nil, fmt.Errorf("the issuer has %d keys", len(keys))
	}
	return keys, nil
}

func (r *remoteKeys) get(ctx context.Context, address string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	answer, err := r.client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", address, answer.Status)
	}
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxFetch+1))
	if err != nil {
		return fmt.Errorf("read %s: %w", address, err)
	}
	if len(data) > maxFetch {
		return fmt.Errorf("%s: the answer is larger than %d bytes", address, maxFetch)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("read %s: %w", address, err)
	}
	return nil
}
