// Package pki is the cluster's certificate authority and what hangs on it: the server's
// certificate, client certificates, nodes' certificates, join tokens, the link's reset key, and the
// keys that sign service-account tokens and encrypt values of the state.
//
// Its directory:
//
//	ca.key       the CA's private key (PKCS #8, PEM)
//	ca.crt       the CA's certificate (PEM); its subject's serial number is the cluster id
//	front-proxy-ca.key, front-proxy-ca.crt   likewise, of the authority of requests to aggregated servers
//	reset.key    32 bytes: see link.Options.ResetKey
//	tokens/      keys that sign service-account tokens (PKCS #8, PEM): 000001.key, 000002.key, ...
//	sealing/     keys that encrypt values of the state (32 bytes each), numbered likewise
//
// Keys are numbered as they were made. The newest one is used; older ones are kept, because what they
// signed or encrypted may still be about. A copy of the state is worth nothing without a copy of sealing/.
//
// Everything else is made from these when it is needed. The server's certificate lives in
// memory only and is made anew long before it expires.
//
// The names in certificates are Kubernetes': the common name is the user, organizations are
// groups, nodes are system:node:NAME in system:nodes.
package pki
