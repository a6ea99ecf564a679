package apiserver

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/net"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"sigs.k8s.io/yaml"

	"wherry/orchestrator/apiserver/audit"
	"wherry/orchestrator/apiserver/auth"
	"wherry/orchestrator/apiserver/media"
)

// audited is a request whose answer is noted. Its Record is nil where the policy says so.
type audited struct {
	http.ResponseWriter
	*audit.Record
	s      *Server
	long   bool
	status int
	sent   *tape // nil: not kept
	back   *tape // what is answered; nil: not kept
}

// maxAudited bounds what is kept of a body; of longer ones nothing is noted.
const maxAudited = 256 << 10

// tape keeps a body until it is too long.
type tape struct {
	bytes.Buffer
	long bool
}

// Write implements io.Writer.
func (t *tape) Write(b []byte) (int, error) {
	if t.long = t.long || t.Len()+len(b) > maxAudited; t.long {
		t.Reset()
		return len(b), nil
	}
	return t.Buffer.Write(b)
}

// audit begins to note a request, and returns the writer and request to go on with. done must be called at its end.
func (s *Server) audit(w http.ResponseWriter, r *http.Request, at target, user *auth.User) (_ *audited, _ *http.Request, done func()) {
	a := &audited{ResponseWriter: w, s: s, long: at.isLong()}
	a.Record = s.cfg.Audit.Begin(&audit.Request{
		User: user.Name, Groups: user.Groups, Verb: at.verb, Resource: at.resource, Group: at.group, Version: at.version,
		Plural: at.plural, Name: at.name, Namespace: at.namespace, Subresource: at.subresource, Path: at.path,
	}, auditEvent(w, r, at, user))
	if a.Record == nil {
		return a, r, func() {}
	}
	request, response := a.Wants()
	if request && !a.long && r.Body != nil {
		a.sent = &tape{}
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(r.Body, a.sent), r.Body}
	}
	if response && !a.long {
		a.back = &tape{}
	}
	r = r.WithContext(audit.With(r.Context(), a.Record))
	return a, r, func() { a.done(r) }
}

// maxAgent bounds what is kept of a User-Agent.
const maxAgent = 1024

func auditEvent(w http.ResponseWriter, r *http.Request, at target, user *auth.User) auditv1.Event {
	agent := r.UserAgent()
	event := auditv1.Event{
		AuditID: types.UID(w.Header().Get("Audit-Id")), RequestURI: r.URL.RequestURI(), Verb: at.verb, User: *user.Info(),
		UserAgent: agent[:min(len(agent), maxAgent)], RequestReceivedTimestamp: metav1.NowMicro(),
	}
	for _, ip := range net.SourceIPs(r) {
		event.SourceIPs = append(event.SourceIPs, ip.String())
	}
	if at.resource {
		event.ObjectRef = &auditv1.ObjectReference{
			Resource: at.plural, Namespace: at.namespace, Name: at.name, APIGroup: at.group, APIVersion: at.version, Subresource: at.subresource}
	}
	return event
}

// done notes what came of the request; a panic, too, and lets it go on.
func (a *audited) done(r *http.Request) {
	if a.sent != nil {
		a.Sent(a.s.asJSON(a.sent, r.Header.Get("Content-Type")))
	}
	if cause := recover(); cause != nil {
		a.Panicked(http.StatusInternalServerError)
		panic(cause)
	}
	if a.back != nil {
		a.Answered(a.s.asJSON(a.back, a.Header().Get("Content-Type")))
	}
	if a.status == 0 {
		a.status = http.StatusOK
	}
	a.Completed(a.status)
}

// asJSON is a body in JSON; nil if it cannot be shown so.
func (s *Server) asJSON(t *tape, contentType string) []byte {
	mediaType, _, err := mime.ParseMediaType(contentType)
	if t.long || t.Len() == 0 || err != nil {
		return nil
	}
	switch {
	case strings.HasSuffix(mediaType, "json"):
		return t.Bytes()
	case strings.HasSuffix(mediaType, "yaml"):
		b, err := yaml.YAMLToJSON(t.Bytes())
		if err != nil {
			return nil // the client has been told
		}
		return b
	case mediaType == media.Protobuf.String():
		return s.protobufAsJSON(t.Bytes())
	}
	return nil
}

func (s *Server) protobufAsJSON(b []byte) []byte {
	for _, with := range []runtime.Serializer{s.codec.kinds[media.Protobuf].Serializer, s.codec.others[media.Protobuf].Serializer} {
		object, _, err := with.Decode(b, nil, nil)
		if err != nil {
			continue // another may know it
		}
		if b, err := json.Marshal(object); err == nil {
			return b
		}
	}
	return nil
}

// WriteHeader implements http.ResponseWriter.
func (a *audited) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
		if a.long {
			a.Started(status)
		}
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *audited) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	if a.back != nil {
		_, _ = a.back.Write(b) // it never fails
	}
	return a.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach flushing, deadlines and hijacking.
func (a *audited) Unwrap() http.ResponseWriter { return a.ResponseWriter }
