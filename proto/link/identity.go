package link

import (
	"crypto/tls"
	"errors"
	"slices"
	"strings"
)

// What a node's certificate says, as in Kubernetes.
const (
	NodeUserPrefix = "system:node:"
	NodesGroup     = "system:nodes"
)

var errNoNode = errors.New("a node's certificate is required")

// nodeOf reads the peer's node name from its verified certificate. Certificates that were
// sent but not verified do not count.
func nodeOf(cs tls.ConnectionState) (string, error) {
	if len(cs.VerifiedChains) == 0 {
		return "", errNoNode
	}
	subject := cs.VerifiedChains[0][0].Subject
	node, ok := strings.CutPrefix(subject.CommonName, NodeUserPrefix)
	if !ok || node == "" || !slices.Contains(subject.Organization, NodesGroup) {
		return "", errNoNode
	}
	return node, nil
}
