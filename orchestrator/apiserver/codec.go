package apiserver

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"sigs.k8s.io/yaml"

	"wherry/orchestrator/apiserver/media"
	"wherry/orchestrator/resource"
)

// codec reads bodies and writes objects, in the three formats.
type codec struct {
	scheme *runtime.Scheme // all kinds of the registry, with their defaults
	kinds  serializers     // of scheme
	others serializers     // what is sent to subresources and reviews, and options
}

// serializers by media.Format.
type serializers [media.Protobuf + 1]runtime.SerializerInfo

func newSerializers(scheme *runtime.Scheme) (s serializers) {
	for _, info := range serializer.NewCodecFactory(scheme).SupportedMediaTypes() {
		for format := range s {
			if info.MediaType == media.Format(format).String() {
				s[format] = info
			}
		}
	}
	return s
}

func newCodec(kinds *resource.Registry) (*codec, error) {
	others := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, autoscalingv1.AddToScheme, policyv1.AddToScheme,
		authenticationv1.AddToScheme, authorizationv1.AddToScheme,
	} {
		if err := add(others); err != nil {
			return nil, fmt.Errorf("apiserver: registering types of subresources: %w", err)
		}
	}
	for _, kind := range kinds.All() {
		metav1.AddToGroupVersion(others, kind.GroupVersion())
	}
	metav1.AddToGroupVersion(others, metav1.SchemeGroupVersion)
	return &codec{scheme: kinds.Scheme(), kinds: newSerializers(kinds.Scheme()), others: newSerializers(others)}, nil
}

// body is what a client sent.
type body struct {
	data   []byte
	format media.Format
}

// decoded is an object read from a body, with the problems that were found on the way and
// do not hinder (field validation Warn).
type decoded struct {
	object   resource.Object
	warnings []string
}

// decodeKind reads an object of a kind, without defaults. validation is Ignore, Warn or Strict. Errors: 400.
func (c *codec) decodeKind(b body, kind *resource.Kind, validation string) (decoded, error) {
	if kind.Custom != nil {
		return decodeCustom(b, kind, validation)
	}
	into := kind.New()
	object, gvk, warnings, err := decode(c.kinds[b.format], b.data, kind.GroupVersionKind, into, validation)
	if err != nil {
		return decoded{}, describeDecode(err, kind.GroupVersionKind, gvk, b.data)
	}
	if gvk.Group != kind.Group || gvk.Version != kind.Version {
		return decoded{}, apierrors.NewBadRequest(fmt.Sprintf(
			"the API version in the data (%s) does not match the expected API version (%v)", gvk.GroupVersion(), kind.GroupVersion()))
	}
	if object != runtime.Object(into) {
		return decoded{}, describeDecode(errors.New("the kind does not match the URL"), kind.GroupVersionKind, gvk, b.data)
	}
	return decoded{object: into, warnings: warnings}, nil
}

// patchedKind reads what a patch made of an object. Errors are the decoder's own.
func (c *codec) patchedKind(after []byte, kind *resource.Kind, validation string) (resource.Object, []string, error) {
	if kind.Custom != nil {
		obj, _, problems, err := decodeUnstructured(body{data: after}, kind, validation)
		if err == nil && len(problems) > 0 && validation == metav1.FieldValidationStrict {
			err = runtime.NewStrictDecodingError(problems)
		}
		return obj, messages(problems), err
	}
	into := kind.New()
	_, _, found, err := decode(c.kinds[media.JSON], after, kind.GroupVersionKind, into, validation)
	return into, found, err
}

// decodeOther reads what is sent to a subresource or review into into. gvk is assumed
// where the body does not say. Errors: 400.
func (c *codec) decodeOther(b body, gvk schema.GroupVersionKind, into runtime.Object, validation string) ([]string, error) {
	object, found, warnings, err := decode(c.others[b.format], b.data, gvk, into, validation)
	if err == nil && object != into {
		err = errors.New("the kind does not match the URL")
	}
	if err != nil {
		return nil, describeDecode(err, gvk, found, b.data)
	}
	return warnings, nil
}

func decode(with runtime.SerializerInfo, data []byte, gvk schema.GroupVersionKind, into runtime.Object, validation string) (runtime.Object, *schema.GroupVersionKind, []string, error) {
	from := with.StrictSerializer
	if validation == metav1.FieldValidationIgnore {
		from = with.Serializer
	}
	object, found, err := from.Decode(data, &gvk, into)
	strict, isStrict := runtime.AsStrictDecodingError(err)
	if isStrict && object != nil && validation == metav1.FieldValidationWarn {
		return object, found, messages(strict.Errors()), nil
	}
	return object, found, nil, err
}

func messages(errs []error) []string {
	var all []string
	for _, err := range errs {
		text := err.Error()
		if _, lines, ok := strings.Cut(text, "yaml: unmarshal errors:\n"); ok {
			for line := range strings.SplitSeq(lines, "\n") {
				all = append(all, strings.TrimSpace(line))
			}
			continue
		}
		all = append(all, text)
	}
	return all
}

// describeDecode words a body that cannot be read as Kubernetes does.
func describeDecode(err error, want schema.GroupVersionKind, found *schema.GroupVersionKind, data []byte) error {
	if found != nil && found.Kind != "" {
		return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", found.Kind, found.Version, want.Kind, err))
	}
	return apierrors.NewBadRequest(fmt.Sprintf("the object provided is unrecognized (must be of type %s): %v (%s)", want.Kind, err, summary(data)))
}

func summary(data []byte) string {
	const most = 30
	switch {
	case len(data) == 0:
		return "<empty>"
	case data[0] != '{':
		if len(data) > most {
			return hex.EncodeToString(data[:most]) + " ..."
		}
		return hex.EncodeToString(data)
	case len(data) > most:
		return string(data[:most]) + " ..."
	}
	return string(data)
}

// encode writes an object whose kind and apiVersion are set, in the shape that the client asked for.
func (c *codec) encode(obj runtime.Object, out media.Type) ([]byte, error) {
	b, err := c.raw(obj, out.Format)
	if err != nil || out.Format == media.Protobuf {
		return b, err
	}
	return text(b, out)
}

// raw is an enveloped protobuf message, or one line of JSON without its end, also for YAML.
func (c *codec) raw(obj runtime.Object, format media.Format) (b []byte, err error) {
	if format == media.Protobuf {
		b, err = runtime.Encode(c.others[media.Protobuf].Serializer, obj)
	} else {
		b, err = json.Marshal(obj)
	}
	if err != nil {
		return nil, fmt.Errorf("encoding %T: %w", obj, err)
	}
	return b, nil
}

// text gives JSON the shape that the client asked for.
func text(b []byte, out media.Type) ([]byte, error) {
	switch {
	case out.Format == media.YAML:
		y, err := yaml.JSONToYAML(b)
		if err != nil {
			return nil, fmt.Errorf("turning JSON into YAML: %w", err)
		}
		return y, nil
	case out.Pretty:
		var buf bytes.Buffer
		if err := json.Indent(&buf, bytes.TrimRight(b, "\n"), "", "  "); err != nil {
			return nil, fmt.Errorf("indenting JSON: %w", err)
		}
		buf.WriteByte('\n')
		return buf.Bytes(), nil
	}
	return append(slices.Clip(bytes.TrimRight(b, "\n")), '\n'), nil
}

// typed is a shallow copy of obj that carries its kind and apiVersion: objects from state
// are shared, and may lack both.
func typed[T runtime.Object](obj T, gvk schema.GroupVersionKind) T {
	if u, ok := any(obj).(*unstructured.Unstructured); ok {
		if u.GroupVersionKind() == gvk {
			return obj
		}
		u = &unstructured.Unstructured{Object: maps.Clone(u.Object)}
		u.SetGroupVersionKind(gvk)
		return any(u).(T)
	}
	v := reflect.New(reflect.TypeOf(obj).Elem())
	v.Elem().Set(reflect.ValueOf(obj).Elem())
	c := v.Interface().(T)
	c.GetObjectKind().SetGroupVersionKind(gvk)
	return c
}
