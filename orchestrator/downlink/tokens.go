package downlink

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"wherry/orchestrator/state"
	"wherry/proto/nodelink"
)

// Tokens makes the service-account tokens that pods' volumes ask for: an empty audience is the API's, life is in seconds.
type Tokens interface {
	ForPod(pod *corev1.Pod, audience string, life int64) (token string, expires time.Time, err error)
}

// When a token is made anew: after four fifths of its life, after a day at the latest; and how soon it is tried again
// when it cannot be made.
const (
	renewAfter = 0.8
	renewMost  = 24 * time.Hour
	renewAgain = time.Minute
)

// wish is a token as a pod's volumes ask for it.
type wish struct {
	audience string
	life     int64
}

// minted is what the agent has for a wish.
type minted struct {
	account types.UID
	renew   time.Time
}

// granted are the tokens that a session has sent, by pod uid. Only the teller uses it.
type granted struct {
	pods map[types.UID]map[wish]minted
	next time.Time // when the first of them is to be renewed; zero: never
}

// wishes are the tokens that a pod's volumes ask for, each once.
func wishes(p *corev1.Pod) map[wish]bool {
	var all map[wish]bool
	for _, v := range p.Spec.Volumes {
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			if t := s.ServiceAccountToken; t != nil && t.ExpirationSeconds != nil {
				if all == nil {
					all = map[wish]bool{}
				}
				all[wish{t.Audience, *t.ExpirationSeconds}] = true
			}
		}
	}
	return all
}

// grant sends the tokens that pods of this node lack: of the pods that are marked, and of all of them when an account has
// changed or it is time to renew.
func (s *session) grant(ctx context.Context, dirty map[key]struct{}) error {
	if s.Tokens == nil {
		return nil
	}
	all := !s.granted.next.IsZero() && !time.Now().Before(s.granted.next)
	for k := range dirty {
		all = all || k.kind == nodelink.Kind_KIND_SERVICE_ACCOUNT
	}
	var tokens []*nodelink.AccountToken
	if all {
		s.granted.next = time.Time{}
		for k := range s.feed.pods {
			tokens = append(tokens, s.mint(k)...)
		}
	} else {
		for k := range dirty {
			if k.kind == nodelink.Kind_KIND_POD {
				tokens = append(tokens, s.mint(k)...)
			}
		}
	}
	return s.sendTokens(ctx, tokens)
}

// mint makes the tokens that one pod lacks.
func (s *session) mint(k key) (tokens []*nodelink.AccountToken) {
	pod, ok := state.Get[*corev1.Pod](s.State, k.namespace, k.name)
	if !ok || pod.Spec.NodeName != s.node {
		return nil
	}
	want := wishes(pod)
	if len(want) == 0 {
		return nil
	}
	have := s.granted.pods[pod.UID]
	if have == nil {
		have = map[wish]minted{}
		s.granted.pods[pod.UID] = have
	}
	account, _ := state.Get[*corev1.ServiceAccount](s.State, k.namespace, pod.Spec.ServiceAccountName)
	if account == nil {
		return nil // it will be marked when it comes back
	}
	for w := range want {
		now := time.Now()
		if m, ok := have[w]; !ok || m.account != account.UID || !now.Before(m.renew) {
			token, expires, err := s.Tokens.ForPod(pod, w.audience, w.life)
			m = minted{account.UID, now.Add(min(time.Duration(renewAfter*float64(expires.Sub(now))), renewMost))}
			if err != nil {
				s.log.Warn("a pod gets no token", "namespace", k.namespace, "pod", k.name, "error", err)
				m.renew = now.Add(renewAgain)
			} else {
				tokens = append(tokens, &nodelink.AccountToken{PodUid: string(pod.UID), Audience: w.audience, ExpirationSeconds: w.life, Token: token})
			}
			have[w] = m
		}
		if next := have[w].renew; s.granted.next.IsZero() || next.Before(s.granted.next) {
			s.granted.next = next
		}
	}
	return tokens
}

// forget drops what was noted of pods that the agent has no more.
func (g *granted) forget(changes []*nodelink.Change) {
	for _, c := range changes {
		if c.Kind == nodelink.Kind_KIND_POD && len(c.Object) == 0 {
			delete(g.pods, types.UID(c.Uid))
		}
	}
}

// maxTokens is how many tokens go into one message: they have about 1 KiB each.
const maxTokens = 500

func (s *session) sendTokens(ctx context.Context, tokens []*nodelink.AccountToken) error {
	for len(tokens) > 0 {
		n := min(len(tokens), maxTokens)
		m := &nodelink.ServerMessage{Body: &nodelink.ServerMessage_Tokens{Tokens: &nodelink.AccountTokens{Token: tokens[:n]}}}
		if err := s.send(ctx, m); err != nil {
			return err
		}
		tokens = tokens[n:]
	}
	return nil
}

// renewals fires when the first token is to be renewed.
func (g *granted) renewals() *time.Timer {
	if g.next.IsZero() {
		return time.NewTimer(renewMost)
	}
	return time.NewTimer(time.Until(g.next))
}
