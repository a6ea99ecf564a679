package token

import (
	"crypto/sha256"
	"sync"
)

// maxCached bounds the cache; an entry is about 1 KiB.
const maxCached = 2048

// cache remembers which tokens had a good signature: checking one costs twenty times as much as looking here. Whether
// a token is still good is judged each time. Entries are found by hash, so that no token is kept.
type cache struct {
	mu  sync.Mutex
	all map[[sha256.Size]byte]*claims
}

func newCache() *cache { return &cache{all: map[[sha256.Size]byte]*claims{}} }

func (c *cache) get(token string) *claims {
	sum := sha256.Sum256([]byte(token))
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all[sum]
}

// put drops some entry when the cache is full.
func (c *cache) put(token string, what *claims) {
	sum := sha256.Sum256([]byte(token))
	c.mu.Lock()
	defer c.mu.Unlock()
	for other := range c.all {
		if len(c.all) < maxCached {
			break
		}
		delete(c.all, other)
	}
	c.all[sum] = what
}
