package resource

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/validate/content"
	genericvalidation "k8s.io/apimachinery/pkg/api/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apiregistration "k8s.io/kube-aggregator/pkg/apis/apiregistration"
)

// validateAPIService judges as kube-aggregator does.
func validateAPIService(s *apiregistration.APIService) field.ErrorList {
	path := field.NewPath("spec")
	errs := genericvalidation.ValidateObjectMeta(&s.ObjectMeta, false, versionDotGroup(s), field.NewPath("metadata"))
	errs = append(errs, validateAPIServiceVersion(&s.Spec, path)...)
	if n := s.Spec.GroupPriorityMinimum; n <= 0 || n > 20000 {
		errs = append(errs, field.Invalid(path.Child("groupPriorityMinimum"), n, "must be positive and less than 20000"))
	}
	if n := s.Spec.VersionPriority; n <= 0 || n > 1000 {
		errs = append(errs, field.Invalid(path.Child("versionPriority"), n, "must be positive and less than 1000"))
	}
	return append(errs, validateAPIServiceBackend(&s.Spec, path)...)
}

// versionDotGroup says why a name is not the one that the spec asks for.
func versionDotGroup(s *apiregistration.APIService) genericvalidation.ValidateNameFunc {
	return func(name string, _ bool) []string {
		if problems := content.IsPathSegmentName(name); len(problems) > 0 {
			return problems
		}
		if want := s.Spec.Version + "." + s.Spec.Group; name != want {
			return []string{fmt.Sprintf("must be `spec.version+\".\"+spec.group`: %q", want)}
		}
		return nil
	}
}

func validateAPIServiceVersion(spec *apiregistration.APIServiceSpec, path *field.Path) (errs field.ErrorList) {
	if spec.Group == "" && spec.Version != "v1" {
		errs = append(errs, field.Required(path.Child("group"), "only v1 may have an empty group and it better be legacy kube"))
	}
	if spec.Group != "" {
		for _, problem := range utilvalidation.IsDNS1123Subdomain(spec.Group) {
			errs = append(errs, field.Invalid(path.Child("group"), spec.Group, problem))
		}
	}
	for _, problem := range utilvalidation.IsDNS1035Label(spec.Version) {
		errs = append(errs, field.Invalid(path.Child("version"), spec.Version, problem))
	}
	return errs
}

func validateAPIServiceBackend(spec *apiregistration.APIServiceSpec, path *field.Path) (errs field.ErrorList) {
	insecure := path.Child("insecureSkipTLSVerify")
	if spec.Service == nil {
		if len(spec.CABundle) != 0 {
			errs = append(errs, field.Invalid(path.Child("caBundle"), fmt.Sprintf("%d bytes", len(spec.CABundle)), "local APIServices may not have a caBundle"))
		}
		if spec.InsecureSkipTLSVerify {
			errs = append(errs, field.Invalid(insecure, true, "local APIServices may not have insecureSkipTLSVerify"))
		}
		return errs
	}
	service := path.Child("service")
	if spec.Service.Namespace == "" {
		errs = append(errs, field.Required(service.Child("namespace"), ""))
	}
	if spec.Service.Name == "" {
		errs = append(errs, field.Required(service.Child("name"), ""))
	}
	if problems := utilvalidation.IsValidPortNum(int(spec.Service.Port)); problems != nil {
		errs = append(errs, field.Invalid(service.Child("port"), spec.Service.Port, "port is not valid: "+strings.Join(problems, ", ")))
	}
	if spec.InsecureSkipTLSVerify && len(spec.CABundle) > 0 {
		errs = append(errs, field.Invalid(insecure, true, "may not be true if caBundle is present"))
	}
	return errs
}

func validateAPIServiceStatus(s *apiregistration.APIService) (errs field.ErrorList) {
	known := []apiregistration.ConditionStatus{apiregistration.ConditionTrue, apiregistration.ConditionFalse, apiregistration.ConditionUnknown}
	for i, c := range s.Status.Conditions {
		if c.Status != known[0] && c.Status != known[1] && c.Status != known[2] {
			errs = append(errs, field.NotSupported(field.NewPath("status", "conditions").Index(i).Child("status"), c.Status, known))
		}
	}
	return errs
}
