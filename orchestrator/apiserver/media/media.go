// Package media decides in which form an answer goes out: JSON, YAML or Kubernetes
// protobuf, and as what: the object itself, its metadata, or rows of a table.
package media

import (
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/munnerz/goautoneg"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Format is an encoding.
type Format int

// The encodings, in the order of preference.
const (
	JSON Format = iota
	YAML
	Protobuf
)

var names = [...]string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"}

func (f Format) String() string { return names[f] }

// As is what the client wants to see instead of the object.
type As int

// The transformations of https://kubernetes.io/docs/reference/using-api/api-concepts/#alternate-representations-of-resources.
const (
	Object As = iota
	Table
	Partial
	PartialList
)

var transformations = map[string]As{
	"Table":                     Table,
	"PartialObjectMetadata":     Partial,
	"PartialObjectMetadataList": PartialList,
}

// Type is a negotiated answer.
type Type struct {
	Format  Format
	As      As
	Version string // of meta.k8s.io, for the transformations: v1 or v1beta1
	Pretty  bool
}

// ContentType is the header of the answer.
func (t Type) ContentType() string { return t.Format.String() }

// Negotiate chooses by the Accept header. Transformations count only where transform is
// true. Errors: a 406 Status.
func Negotiate(r *http.Request, transform bool) (Type, error) {
	return negotiate(r, transform, func(Type) bool { return true }, names[:])
}

// NegotiateText is Negotiate for objects that have no protobuf: only what is made of them may go out as protobuf.
func NegotiateText(r *http.Request) (Type, error) {
	return negotiate(r, true, func(t Type) bool { return t.As != Object || t.Format != Protobuf }, names[:])
}

func negotiate(r *http.Request, transform bool, may func(Type) bool, offered []string) (Type, error) {
	header := r.Header.Get("Accept")
	if header == "" {
		return Type{Pretty: pretty(r)}, nil
	}
	for _, clause := range goautoneg.ParseAccept(header) {
		for format := JSON; format <= Protobuf; format++ {
			t := Type{Format: format, Pretty: pretty(r)}
			if accepts(clause, format) && t.parameters(clause.Params, transform) && may(t) {
				return t, nil
			}
		}
	}
	return Type{}, NotAcceptable("only the following media types are accepted: " + strings.Join(offered, ", "))
}

// Offered are the media types of objects.
var Offered = names[:]

// Known says whether the client takes anything of what is offered, whatever shape it asks for.
func Known(r *http.Request) bool {
	for _, clause := range goautoneg.ParseAccept(r.Header.Get("Accept")) {
		for format := JSON; format <= Protobuf; format++ {
			if accepts(clause, format) {
				return true
			}
		}
	}
	return false
}

func accepts(clause goautoneg.Accept, f Format) bool {
	kind, subkind, _ := strings.Cut(f.String(), "/")
	return (clause.Type == kind || clause.Type == "*") && (clause.SubType == subkind || clause.SubType == "*")
}

// parameters takes what stands behind the media type; false means that this clause
// cannot be served in this format.
func (t *Type) parameters(params map[string]string, transform bool) bool {
	if params["pretty"] == "1" {
		t.Pretty = true
	}
	if stream := params["stream"]; stream != "" && stream != "watch" {
		return false
	}
	if version := params["sv"]; version != "" && version != "v1" {
		return false
	}
	as, group, version := params["as"], params["g"], params["v"]
	if as == "" && group == "" && version == "" {
		return true
	}
	what, known := transformations[as]
	if !transform || !known || group != metav1.GroupName || (version != "v1" && version != "v1beta1") {
		return false
	}
	t.As, t.Version = what, version
	return t.As != Table || t.Format != Protobuf
}

// pretty says whether a human reads along: he asked, or his client is one for humans.
func pretty(r *http.Request) bool {
	if strings.Contains(r.URL.RawQuery, "pretty") {
		if asked := r.URL.Query().Get("pretty"); asked != "" {
			yes, err := strconv.ParseBool(asked)
			return err == nil && yes
		}
	}
	agent := r.UserAgent()
	return strings.HasPrefix(agent, "curl") || strings.HasPrefix(agent, "Wget") || strings.HasPrefix(agent, "Mozilla/5.0")
}

// Body reads a Content-Type header; empty is JSON. Errors: a 415 Status.
func Body(header string) (Format, error) {
	if header == "" {
		return JSON, nil
	}
	name, _, err := mime.ParseMediaType(header)
	if err == nil {
		for format := JSON; format <= Protobuf; format++ {
			if name == format.String() {
				return format, nil
			}
		}
	}
	return JSON, Unsupported(names[:]...)
}

// Unsupported is the 415 Status that lists what would have been taken.
func Unsupported(accepted ...string) error { return unsupported(accepted) }

// NotAcceptable is the 406 Status with a message.
func NotAcceptable(message string) error { return notAcceptable(message) }

type notAcceptable string

func (e notAcceptable) Error() string { return string(e) }

// Status implements apierrors.APIStatus.
func (e notAcceptable) Status() metav1.Status {
	return failure(http.StatusNotAcceptable, metav1.StatusReasonNotAcceptable, string(e))
}

type unsupported []string

func (e unsupported) Error() string {
	return fmt.Sprintf("the body of the request was in an unknown format - accepted media types include: %v", strings.Join(e, ", "))
}

// Status implements apierrors.APIStatus.
func (e unsupported) Status() metav1.Status {
	return failure(http.StatusUnsupportedMediaType, metav1.StatusReasonUnsupportedMediaType, e.Error())
}

func failure(code int32, reason metav1.StatusReason, message string) metav1.Status {
	return metav1.Status{Status: metav1.StatusFailure, Code: code, Reason: reason, Message: message}
}
