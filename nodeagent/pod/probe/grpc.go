package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
	corev1 "k8s.io/api/core/v1"
)

// serving is HealthCheckResponse.SERVING of grpc.health.v1.
const serving = 1

// grpc calls grpc.health.v1.Health/Check: one message each way over HTTP/2, which needs no gRPC library.
func (t Target) grpc(ctx context.Context, a *corev1.GRPCAction) error {
	address := net.JoinHostPort(t.Address, strconv.Itoa(int(a.Port)))
	service := ""
	if a.Service != nil {
		service = *a.Service
	}
	body := frame(protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), service))
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/grpc.health.v1.Health/Check", bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/grpc")
	request.Header.Set("TE", "trailers")
	request.Header.Set("User-Agent", "kube-probe/1.36")
	transport := t.transport()
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("timeout: failed to connect service %q: %w", address, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return judge(response, answer)
}

// judge reads what a server answered.
func judge(response *http.Response, answer []byte) error {
	code := response.Trailer.Get("Grpc-Status")
	message := response.Trailer.Get("Grpc-Message")
	if code == "" { // an answer without a body has it in the header
		code, message = response.Header.Get("Grpc-Status"), response.Header.Get("Grpc-Message")
	}
	if response.StatusCode != http.StatusOK || code == "" {
		return fmt.Errorf("error: this server does not speak gRPC (HTTP status %d)", response.StatusCode)
	}
	if code != "0" {
		return fmt.Errorf("error: health rpc failed with status %s: %s", code, message)
	}
	status, err := healthStatus(answer)
	if err != nil {
		return err
	}
	if status != serving {
		return fmt.Errorf("service unhealthy (responded with %d)", status)
	}
	return nil
}

// frame puts the prefix of gRPC before a message: not compressed, and its length.
func frame(message []byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))
	return append(b, message...)
}

var errHealth = errors.New("error: the health rpc was answered with something else")

// healthStatus reads field 1 of a framed HealthCheckResponse.
func healthStatus(b []byte) (uint64, error) {
	if len(b) < 5 || b[0] != 0 || uint64(binary.BigEndian.Uint32(b[1:])) != uint64(len(b)-5) {
		return 0, errHealth
	}
	status := uint64(0)
	for b = b[5:]; len(b) > 0; {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return 0, errHealth
		}
		b = b[n:]
		if number == 1 && kind == protowire.VarintType {
			if status, n = protowire.ConsumeVarint(b); n < 0 {
				return 0, errHealth
			}
		} else if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
			return 0, errHealth
		}
		b = b[n:]
	}
	return status, nil
}
