// Package token makes and checks service-account tokens: JSON Web Tokens (RFC 7519) with Kubernetes' claims.
//
//	iss, aud, sub, iat, nbf, exp, jti       sub is system:serviceaccount:<namespace>:<name>
//	kubernetes.io/namespace
//	kubernetes.io/serviceaccount, pod, secret, node      {name, uid} each: what the token is bound to
//	kubernetes.io/warnafter                 when a longer life than asked for begins
//
// A signature says only that this cluster made the token. Each check also looks, in the state, whether the account and
// what the token is bound to are still there: deleting one of them ends the token.
//
// Tokens of Secrets of type kubernetes.io/service-account-token have the older claims (legacy.go); they do not expire,
// and are good as long as the Secret holds them.
package token
