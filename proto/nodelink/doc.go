// Package nodelink is what crosses between an agent and the control plane: the messages
// of nodelink.proto and how they are framed.
//
// A machine without a certificate joins. It knows a token, which names the CA's key:
//
//	machine                                  control plane
//	   | session, ALPN wherry-join/1               |
//	   | JoinRequest{token, name, csr} ----------> |
//	   | <------- JoinResponse{certificate, ca}    |
//	   | session ends                              |
//
// A node with a certificate keeps one session. The first stream is the control stream:
//
//	agent                                    control plane
//	   | session, ALPN wherry-node/1, mutual TLS   |
//	   | Hello{versions, cluster, node} ---------> |
//	   | <------------ Welcome{version, networks}  |  or Refusal, and the session ends
//	   | Inventory{have...} ... Inventory{last} -> |
//	   | <------------ Feed{difference} ...        |
//	   | <------------ Feed{synced}                |
//	   | <------------ AccountTokens{token...}     |  before the pods, and before older ones end
//	   |                                           |
//	   | <------------ Feed{revision, changes}     |  whenever something of the node changes
//	   | Report{seq, pod status} ----------------> |
//	   | <------------ Ack{seq}                    |  durable, or dropped with the reason
//	   | Heartbeat{} ----------------------------> |  every Welcome.heartbeat_seconds
//	   | Renew{csr} -----------------------------> |
//	   | <------------ Renewed{certificate}        |
//
// Any further stream, opened by either side, is one connection:
//
//	opener                                   other side
//	   | Open{Log, PortForward, Registry, Tunnel,  |
//	   |      Kubelet}                             |
//	   | <------------ Opened{} or its refusal     |
//	   | <=========== bytes both ways ===========> |
//
// Exec and Attach carry messages:
//
//	control plane                            agent
//	   | Open{Exec, Attach} ---------------------> |
//	   | <------------ Opened{} or its refusal     |
//	   | Console{stdin, stdin_closed, resize} ---> |
//	   | <------------ Console{stdout, stderr} ... |
//	   | <------------ Console{exit}               |
//
// and Usage is answered with one:
//
//	control plane                            agent
//	   | Open{Usage} ----------------------------> |
//	   | <------------ Opened{} or its refusal     |
//	   | <------------ NodeUsage                   |
//
// # Versions
//
// One growing integer names what both sides may say. Each side says the newest that it
// speaks; the agent also the oldest. Unknown fields and message kinds are ignored.
//
//	1  2026-11-21  join, control stream, feed, reports, renewal; logs, port-forward, registry, tunnel
//	               2026-11-28: exec, attach; an older agent refuses to open them
//	               2026-11-28: tokens; an older agent refuses volumes with tokens
//	               2026-11-28: kubelet, usage; an older agent refuses to open them. Log.stream; an older agent sends both
package nodelink

//go:generate go run ./gen

const (
	// Version is the newest version of the conversation that this code speaks.
	Version = 1
	// MinVersion is the oldest one.
	MinVersion = 1
)

// Agree picks the version for a session with a peer that speaks min to max. ok is false
// when there is none.
func Agree(min, max uint32) (version uint32, ok bool) {
	v := uint32(Version)
	if max < v {
		v = max
	}
	return v, v >= MinVersion && v >= min
}
