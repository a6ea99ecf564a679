package uplink

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"wherry/proto/link"
	"wherry/proto/nodelink"
)

// answerTimeout bounds how long the control plane may take to answer.
const answerTimeout = 20 * time.Second

// join gets a certificate for the token.
func (u *Uplink) join(ctx context.Context) error {
	id := u.identity
	var (
		mu sync.Mutex
		ca *x509.Certificate
	)
	s, err := u.dial(ctx, id.joinTLS(func(c *x509.Certificate) {
		mu.Lock()
		defer mu.Unlock()
		ca = c
	}))
	if errors.Is(err, errOtherCluster) {
		return &refusedError{&nodelink.Refusal{Code: uint32(link.CodeUnauthorized), Message: errOtherCluster.Error(), Permanent: true}, true}
	}
	if err != nil {
		return err
	}
	defer s.Close(link.CodeOK, "") // it ends either way
	answer, err := u.askToJoin(ctx, s)
	if err != nil {
		return err
	}
	mu.Lock()
	defer mu.Unlock()
	return u.checkJoin(answer, ca)
}

func (u *Uplink) askToJoin(ctx context.Context, s link.Session) (*nodelink.JoinResponse, error) {
	csr, err := u.identity.request()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	stream, err := s.Open(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { stream.Reset(link.CodeCanceled) })
	defer stop()
	token := u.identity.token
	err = nodelink.WriteMessage(stream, &nodelink.JoinRequest{
		TokenId: token.ID, TokenSecret: token.Secret, NodeName: u.config.NodeName, Csr: csr, Version: nodelink.Version,
	})
	answer := &nodelink.JoinResponse{}
	if err == nil {
		err = nodelink.ReadMessage(stream, answer, nodelink.MaxOpening)
	}
	if err != nil {
		return nil, fmt.Errorf("no answer: %w", err)
	}
	if answer.Refusal != nil {
		return nil, &refusedError{answer.Refusal, true}
	}
	return answer, nil
}

// checkJoin keeps the answer if it is of the authority that the token names.
func (u *Uplink) checkJoin(answer *nodelink.JoinResponse, ca *x509.Certificate) error {
	if ca == nil || len(answer.Ca) != 1 || !bytes.Equal(answer.Ca[0], ca.Raw) {
		return errors.New("the answer names another certificate authority")
	}
	cert, err := x509.ParseCertificate(answer.Certificate)
	if err != nil {
		return fmt.Errorf("the node's certificate: %w", err)
	}
	if err := cert.CheckSignatureFrom(ca); err != nil {
		return fmt.Errorf("the node's certificate: %w", err)
	}
	if answer.ClusterId == "" {
		return errors.New("the answer has no cluster id")
	}
	return u.identity.joined(answer, ca)
}
