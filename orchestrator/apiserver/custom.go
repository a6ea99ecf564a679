package apiserver

import (
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"wherry/orchestrator/apiserver/media"
	"wherry/orchestrator/resource"
)

// decodeCustom is decodeKind for kinds without a Go type.
func decodeCustom(b body, kind *resource.Kind, validation string) (decoded, error) {
	obj, gvk, problems, err := decodeUnstructured(b, kind, validation)
	if err == nil && len(problems) > 0 && validation == metav1.FieldValidationStrict {
		err = runtime.NewStrictDecodingError(problems)
	}
	if err != nil {
		return decoded{}, describeDecode(err, kind.GroupVersionKind, gvk, b.data)
	}
	if gvk.GroupVersion() != kind.GroupVersion() {
		return decoded{}, apierrors.NewBadRequest(fmt.Sprintf(
			"the API version in the data (%s) does not match the expected API version (%v)", gvk.GroupVersion(), kind.GroupVersion()))
	}
	if gvk.Kind != kind.Kind {
		return decoded{}, apierrors.NewInvalid(kind.GroupVersionKind.GroupKind(), obj.GetName(), field.ErrorList{
			field.Invalid(field.NewPath("kind"), gvk.Kind, "must be "+kind.Kind)})
	}
	if validation == metav1.FieldValidationIgnore {
		problems = nil
	}
	return decoded{object: obj, warnings: messages(problems)}, nil
}

// decodeUnstructured reads a custom object and what a strict reader minds of it. gvk is nil if the body does not say
// what it is.
func decodeUnstructured(b body, kind *resource.Kind, validation string) (obj *unstructured.Unstructured, gvk *schema.GroupVersionKind, problems []error, err error) {
	data := b.data
	switch b.format {
	case media.Protobuf:
		return nil, nil, nil, fmt.Errorf("object %T does not implement the protobuf marshalling interface and cannot be encoded to a protobuf message", obj)
	case media.YAML:
		if data, problems, err = yamlToJSON(data, validation); err != nil {
			return nil, nil, nil, err
		}
	}
	obj = &unstructured.Unstructured{Object: map[string]any{}}
	duplicates, err := kjson.UnmarshalStrict(data, &obj.Object, kjson.DisallowDuplicateFields)
	if err != nil {
		return nil, nil, nil, err
	}
	problems = append(problems, duplicates...)
	gvk = &schema.GroupVersionKind{}
	*gvk = obj.GroupVersionKind()
	if gvk.Kind == "" {
		return nil, nil, nil, runtime.NewMissingKindErr(string(data))
	}
	if gvk.Version == "" {
		*gvk = kind.GroupVersionKind
		obj.SetAPIVersion(kind.GroupVersion().String())
	}
	if kind.Custom.Coerce == nil || gvk.GroupVersion() != kind.GroupVersion() {
		return obj, gvk, problems, nil
	}
	unknown, err := kind.Custom.Coerce(obj)
	for _, path := range unknown {
		problems = append(problems, fmt.Errorf("unknown field %q", path))
	}
	return obj, gvk, problems, err
}

// yamlToJSON also returns what a strict reader minds.
func yamlToJSON(data []byte, validation string) (_ []byte, problems []error, err error) {
	text, err := yaml.YAMLToJSON(data)
	if err != nil {
		return nil, nil, err
	}
	if validation == metav1.FieldValidationIgnore {
		return text, nil, nil
	}
	if _, err := yaml.YAMLToJSONStrict(data); err != nil {
		problems = append(problems, err)
	}
	return text, problems, nil
}

// ownOptions lets the options of a deletion say that they are of the kind's own group and version, as clients do.
func ownOptions(b body, kind *resource.Kind) body {
	text := b.data
	if b.format == media.YAML {
		var err error
		if text, err = yaml.YAMLToJSON(text); err != nil {
			return b
		}
	}
	fields := map[string]json.RawMessage{}
	var version string
	if json.Unmarshal(text, &fields) != nil || json.Unmarshal(fields["apiVersion"], &version) != nil || version != kind.GroupVersion().String() {
		return b
	}
	fields["apiVersion"] = json.RawMessage(`"` + metav1.SchemeGroupVersion.String() + `"`)
	text, err := json.Marshal(fields)
	if err != nil {
		return b
	}
	return body{data: text, format: media.JSON}
}
