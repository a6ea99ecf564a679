package apiserver

import (
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	listvalidation "k8s.io/apimachinery/pkg/apis/meta/internalversion/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
)

// parse reads options from the query. convert is metav1's own. Errors: 400.
func parse[T any](query url.Values, convert func(*url.Values, *T, conversion.Scope) error) (T, error) {
	var o T
	if err := convert(&query, &o, nil); err != nil {
		return o, apierrors.NewBadRequest(err.Error())
	}
	return o, nil
}

// invalid is the 422 Status for options that contradict each other; nil if there are no errors.
func invalid(kind string, errs field.ErrorList) error {
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: kind}, "", errs)
}

func (c *call) createOptions() (metav1.CreateOptions, error) {
	o, err := parse(c.r.URL.Query(), metav1.Convert_url_Values_To_v1_CreateOptions)
	o.SetGroupVersionKind(metav1.SchemeGroupVersion.WithKind("CreateOptions"))
	if err != nil {
		return o, err
	}
	return o, invalid("CreateOptions", validation.ValidateCreateOptions(&o))
}

func (c *call) updateOptions() (metav1.UpdateOptions, error) {
	o, err := parse(c.r.URL.Query(), metav1.Convert_url_Values_To_v1_UpdateOptions)
	o.SetGroupVersionKind(metav1.SchemeGroupVersion.WithKind("UpdateOptions"))
	if err != nil {
		return o, err
	}
	return o, invalid("UpdateOptions", validation.ValidateUpdateOptions(&o))
}

func (c *call) patchOptions(kind types.PatchType) (metav1.PatchOptions, error) {
	o, err := parse(c.r.URL.Query(), metav1.Convert_url_Values_To_v1_PatchOptions)
	if err != nil {
		return o, err
	}
	return o, invalid("PatchOptions", validation.ValidatePatchOptions(&o, kind))
}

// listOptions are metav1's with the selectors parsed.
type listOptions struct {
	metav1.ListOptions
	selector state.Selector
}

// listOptions reads and checks the options of list, watch and deletecollection.
func (c *call) listOptions(watch bool) (listOptions, error) {
	raw, err := parse(c.r.URL.Query(), metav1.Convert_url_Values_To_v1_ListOptions)
	if err != nil {
		return listOptions{}, err
	}
	o := listOptions{ListOptions: raw}
	o.Watch = watch
	internal := internalversion.ListOptions{
		Watch: watch, ResourceVersion: o.ResourceVersion, ResourceVersionMatch: o.ResourceVersionMatch,
		Continue: o.Continue, SendInitialEvents: o.SendInitialEvents,
	}
	internalversion.SetListOptionsDefaults(&internal, true)
	if err := invalid("ListOptions", listvalidation.ValidateListOptions(&internal, true)); err != nil {
		return o, err
	}
	o.SendInitialEvents, o.ResourceVersionMatch = internal.SendInitialEvents, internal.ResourceVersionMatch
	o.selector, err = c.selector(o.LabelSelector, o.FieldSelector)
	return o, err
}

func (c *call) selector(label, fieldText string) (state.Selector, error) {
	sel := state.Selector{Namespace: c.namespace()}
	var err error
	if label != "" {
		if sel.Labels, err = labels.Parse(label); err != nil {
			return sel, apierrors.NewBadRequest(err.Error())
		}
	}
	if fieldText == "" {
		fieldText = c.nameSelector()
	}
	if fieldText == "" {
		return sel, nil
	}
	if sel.Fields, err = fields.ParseSelector(fieldText); err != nil {
		return sel, apierrors.NewBadRequest(err.Error())
	}
	for _, requirement := range sel.Fields.Requirements() {
		if err := knownField(c.kind, requirement.Field); err != nil {
			return sel, err
		}
	}
	if name, ok := sel.Fields.RequiresExactMatch("metadata.name"); ok {
		sel.Name = name
	}
	return sel, nil
}

// nameSelector selects the one object that a path like /watch/pods/x names.
func (c *call) nameSelector() string {
	if c.at.name == "" {
		return ""
	}
	return fields.OneTermEqualSelector("metadata.name", c.at.name).String()
}

func knownField(kind *resource.Kind, label string) error {
	if label == "metadata.name" || label == "metadata.namespace" {
		return nil
	}
	for _, known := range kind.FieldNames {
		if label == known {
			return nil
		}
	}
	if len(kind.FieldNames) == 0 {
		return apierrors.NewBadRequest(fmt.Sprintf("%q is not a known field selector: only %q, %q", label, "metadata.name", "metadata.namespace"))
	}
	return apierrors.NewBadRequest("field label not supported: " + label)
}

// manager is who owns the fields that a request writes: what it says, or the first word of its User-Agent.
func (c *call) manager(asked string) string {
	if asked != "" {
		return asked
	}
	agent, _, _ := strings.Cut(c.r.UserAgent(), "/")
	var name strings.Builder
	for _, r := range agent {
		if !unicode.IsPrint(r) {
			continue
		}
		if name.Len()+utf8.RuneLen(r) > validation.FieldManagerMaxLength {
			break
		}
		name.WriteRune(r)
	}
	if name.Len() == 0 {
		return "unknown"
	}
	return name.String()
}

// fieldValidation is the directive, Warn where nothing is said.
func fieldValidation(asked string) string {
	if asked == "" {
		return metav1.FieldValidationWarn
	}
	return asked
}
