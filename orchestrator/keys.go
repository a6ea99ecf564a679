package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"wherry/orchestrator/apiserver"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
)

// encrypted says for keys of the store whether their values are encrypted: those of the named resources.
func encrypted(resources []string, kinds *resource.Registry) (func(key string) bool, error) {
	var prefixes []string
	for _, name := range resources {
		if name == "*" {
			return func(string) bool { return true }, nil
		}
		r := schema.ParseGroupResource(name)
		known := slices.ContainsFunc(kinds.All(), func(k *resource.Kind) bool { return k.GroupResource() == r })
		if !known && !strings.Contains(r.Group, ".") { // groups of custom resources have a dot
			return nil, fmt.Errorf("cannot encrypt %q: there is no such resource; it looks like secrets or deployments.apps", name)
		}
		prefixes = append(prefixes, state.Prefix(r))
	}
	return func(key string) bool {
		return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(key, p) })
	}, nil
}

// reseal writes values anew that are not as the configuration and the newest key would have them.
func (o *Orchestrator) reseal(ctx context.Context) error {
	n, err := o.sealed.Reseal(ctx)
	if n > 0 {
		o.log.Info("values of the state are encrypted anew", "count", n, "key", o.pki.Sealer().Key())
	}
	if err != nil && ctx.Err() == nil {
		o.log.Error("not every value of the state is encrypted as it should be; the next start tries again", "error", err)
	}
	return nil
}

// keys rotates keys for the API. It is an apiserver.Keys.
type keys struct {
	o    *Orchestrator
	turn chan struct{} // holds a token unless somebody rotates
}

func newKeys(o *Orchestrator) *keys {
	k := &keys{o, make(chan struct{}, 1)}
	k.turn <- struct{}{}
	return k
}

// Rotate implements apiserver.Keys.
func (k *keys) Rotate(ctx context.Context, what string) (string, error) {
	select {
	case <-k.turn:
		defer func() { k.turn <- struct{}{} }()
	default:
		return "", apiserver.ErrRotating
	}
	switch what {
	case apiserver.TokenKeys:
		if err := k.o.pki.TokenKeys().Rotate(); err != nil {
			return "", err
		}
		return "new service-account tokens are signed with a new key; those that were made before stay good", nil
	case apiserver.SecretKeys:
		return k.secrets(ctx)
	}
	return "", fmt.Errorf("there are no keys %q", what)
}

func (k *keys) secrets(ctx context.Context) (string, error) {
	sealer := k.o.pki.Sealer()
	if err := sealer.Rotate(); err != nil {
		return "", err
	}
	n, err := k.o.sealed.Reseal(ctx)
	if err != nil {
		return "", errors.Join(fmt.Errorf("key %s encrypts from now on; %d values are encrypted anew, the others will be at the next start", sealer.Key(), n), err)
	}
	k.o.log.Info("a new key encrypts the state", "key", sealer.Key(), "encrypted anew", n)
	return fmt.Sprintf("key %s encrypts from now on; %d values are encrypted anew", sealer.Key(), n), nil
}
