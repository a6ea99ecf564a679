package nodeagent

import "wherry/proto/nodelink"

// Bounds of the tokens that the control plane may send.
const (
	maxTokenPods = 20_000
	maxPodTokens = 64
	maxToken     = 16 << 10 // bytes
)

// tokenWish is a service-account token as a pod's volume asks for it.
type tokenWish struct {
	audience string
	seconds  int64
}

// tokens takes service-account tokens over. They are in memory, and in the volumes of their pods, so that pods come back
// with the last ones when this machine starts without the control plane; they are not in the journal.
func (a *Agent) tokens(all []*nodelink.AccountToken) {
	for uid := range a.world.setTokens(all) {
		a.workers.TokensChanged(uid)
	}
}

// setTokens takes tokens over, and returns whose they are.
func (w *world) setTokens(all []*nodelink.AccountToken) map[string]bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	uids := map[string]bool{}
	for _, t := range all {
		uid, wish := t.GetPodUid(), tokenWish{t.GetAudience(), t.GetExpirationSeconds()}
		of := w.tokens[uid]
		_, known := of[wish]
		if len(t.GetToken()) > maxToken || of == nil && len(w.tokens) == maxTokenPods || !known && len(of) == maxPodTokens {
			continue
		}
		if of == nil {
			of = map[tokenWish]string{}
			w.tokens[uid] = of
		}
		of[wish] = t.GetToken()
		uids[uid] = true
	}
	return uids
}

// dropTokens forgets the tokens of pods that are not the node's: all that came for them is known by now.
func (w *world) dropTokens() {
	w.mu.Lock()
	defer w.mu.Unlock()
	here := map[string]bool{}
	for _, p := range w.pods {
		here[string(p.UID)] = true
	}
	for uid := range w.tokens {
		if !here[uid] {
			delete(w.tokens, uid)
		}
	}
}

// Token implements pod.Objects.
func (w *world) Token(podUID, audience string, seconds int64) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tokens[podUID][tokenWish{audience, seconds}]
}
