package link

import (
	"crypto/tls"
	"errors"
	"slices"
	"strings"

	"wherry/proto/nodelink"
)

// What a node's certificate says, as in Kubernetes.
const (
	NodeUserPrefix = "system:node:"
	NodesGroup     = "system:nodes"
)

var errNoNode = errors.New("a node's certificate is required")

// nodeOf reads the peer's node name and key from its verified certificate. Certificates
// that were sent but not verified do not count.
func nodeOf(cs tls.ConnectionState) (name, key string, err error) {
	if len(cs.VerifiedChains) == 0 {
		return "", "", errNoNode
	}
	cert := cs.VerifiedChains[0][0]
	name, ok := strings.CutPrefix(cert.Subject.CommonName, NodeUserPrefix)
	if !ok || name == "" || !slices.Contains(cert.Subject.Organization, NodesGroup) {
		return "", "", errNoNode
	}
	return name, nodelink.KeyHash(cert.RawSubjectPublicKeyInfo), nil
}
