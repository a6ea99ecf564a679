package downlink

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"wherry/orchestrator/pki"
	"wherry/orchestrator/state"
	"wherry/proto/link"
	"wherry/proto/nodelink"
)

// openingTimeout bounds how long a peer may take to say what it wants.
const openingTimeout = 10 * time.Second

// KeyAnnotation of a Node is the hash of the key that its certificates are for. A machine with
// another key cannot take the node's name while the Node exists.
const KeyAnnotation = "node.wherry.dev/key"

// join serves a machine that has only a token.
func (d *Downlink) join(ctx context.Context, s link.Session) {
	log := d.Logger.With("peer", s.Peer().Address)
	select {
	case d.joins <- struct{}{}:
		defer func() { <-d.joins }()
	default:
		_ = s.Close(link.CodeShutdown, "too many machines are joining; come again") // it ends either way
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*openingTimeout)
	defer cancel()
	stream, err := s.Accept(ctx)
	if err != nil {
		log.Warn("join", "error", err)
		_ = s.Close(link.CodeProtocol, "no join request came")
		return
	}
	if err := d.answerJoin(ctx, stream, log.Info); err != nil {
		log.Warn("join", "error", err)
	}
	// The machine ends the session when it has read the answer.
	select {
	case <-s.Context().Done():
	case <-ctx.Done():
	}
	_ = s.Close(link.CodeOK, "")
}

func (d *Downlink) answerJoin(ctx context.Context, stream link.Stream, info func(string, ...any)) error {
	if err := stream.SetDeadline(time.Now().Add(openingTimeout)); err != nil {
		return err
	}
	request := &nodelink.JoinRequest{}
	if err := nodelink.ReadMessage(stream, request, nodelink.MaxOpening); err != nil {
		stream.Reset(link.CodeProtocol)
		return fmt.Errorf("read the request: %w", err)
	}
	answer, err := d.admit(request)
	if err != nil {
		answer = &nodelink.JoinResponse{Refusal: refusal(err)}
	} else {
		info("a machine joins", "node", request.NodeName)
	}
	return errors.Join(err, nodelink.WriteMessage(stream, answer), stream.CloseWrite())
}

// admit decides about a machine.
func (d *Downlink) admit(r *nodelink.JoinRequest) (*nodelink.JoinResponse, error) {
	if r.Version < nodelink.MinVersion {
		return nil, refuse(link.CodeVersion, true, "the agent speaks version %d of the protocol, this control plane %d to %d: upgrade the agent",
			r.Version, nodelink.MinVersion, nodelink.Version)
	}
	secret, _ := state.Get[*corev1.Secret](d.State, pki.TokenNamespace, pki.TokenSecretName(r.TokenId))
	if err := pki.CheckToken(secret, r.TokenId, r.TokenSecret); err != nil {
		return nil, refuse(link.CodeUnauthorized, true, "%w", err)
	}
	key, err := pki.RequestKey(r.Csr)
	if err != nil {
		return nil, refuse(link.CodeUnauthorized, true, "%w", err)
	}
	if err := d.nameIsFree(r.NodeName, key); err != nil {
		return nil, err
	}
	cert, err := d.PKI.SignNode(r.Csr, r.NodeName)
	if err != nil {
		return nil, refuse(link.CodeUnauthorized, errors.Is(err, pki.ErrRequest), "%w", err)
	}
	return &nodelink.JoinResponse{Certificate: cert, Ca: [][]byte{d.PKI.CADER()}, ClusterId: d.PKI.ClusterID()}, nil
}

func (d *Downlink) nameIsFree(node, key string) error {
	n, ok := state.Get[*corev1.Node](d.State, "", node)
	if !ok {
		return nil
	}
	if owner := n.Annotations[KeyAnnotation]; owner != "" && owner != key {
		return refuse(link.CodeUnauthorized, true,
			"a node named %q exists already, with another key: choose another --node-name, or, if that machine is gone, `kubectl delete node %s` first", node, node)
	}
	return nil
}

// refused is a clear no on its way to the peer.
type refused struct {
	code      link.Code
	permanent bool
	err       error
}

func (r *refused) Error() string { return r.err.Error() }
func (r *refused) Unwrap() error { return r.err }

func refuse(code link.Code, permanent bool, format string, args ...any) error {
	return &refused{code, permanent, fmt.Errorf(format, args...)}
}

// refusal words an error for the peer. What is not a clear no is not shown.
func refusal(err error) *nodelink.Refusal {
	var r *refused
	if errors.As(err, &r) {
		return &nodelink.Refusal{Code: uint32(r.code), Message: r.Error(), Permanent: r.permanent}
	}
	return &nodelink.Refusal{Code: uint32(link.CodeInternal), Message: "the control plane failed; its log says why"}
}
