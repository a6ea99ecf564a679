package audit

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"sigs.k8s.io/yaml"
)

// maxPolicy bounds a policy file, in bytes.
const maxPolicy = 1 << 20

// ReadPolicy reads a policy file: an audit.k8s.io/v1 Policy in YAML or JSON. Errors name the file and the field.
func ReadPolicy(path string) (*auditv1.Policy, error) {
	info, err := os.Stat(path)
	if err == nil && info.Size() > maxPolicy {
		err = fmt.Errorf("%s: longer than %d bytes", path, maxPolicy)
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("audit policy: %w", err)
	}
	p := &auditv1.Policy{}
	if err := yaml.UnmarshalStrict(bytes.TrimSpace(data), p); err != nil {
		return nil, fmt.Errorf("audit policy %s: %w", path, err)
	}
	if err := check(p); err != nil {
		return nil, fmt.Errorf("audit policy %s: %w", path, err)
	}
	return p, nil
}

var (
	levels = []auditv1.Level{auditv1.LevelNone, auditv1.LevelMetadata, auditv1.LevelRequest, auditv1.LevelRequestResponse}
	stages = []auditv1.Stage{auditv1.StageRequestReceived, auditv1.StageResponseStarted, auditv1.StageResponseComplete, auditv1.StagePanic}
)

// check says what is wrong with a policy.
func check(p *auditv1.Policy) error {
	switch {
	case p.APIVersion != auditv1.SchemeGroupVersion.String() || p.Kind != "Policy":
		return fmt.Errorf("it is a %s %s, not an audit.k8s.io/v1 Policy", p.APIVersion, p.Kind)
	case len(p.Rules) == 0:
		return fmt.Errorf("it has no rules")
	}
	if err := checkStages("omitStages", p.OmitStages); err != nil {
		return err
	}
	for i := range p.Rules {
		if err := checkRule(fmt.Sprintf("rules[%d]", i), &p.Rules[i]); err != nil {
			return err
		}
	}
	return nil
}

func checkStages(path string, all []auditv1.Stage) error {
	for i, stage := range all {
		if !slices.Contains(stages, stage) {
			return fmt.Errorf("%s[%d]: unsupported value: %q: supported values: %q", path, i, stage, stages)
		}
	}
	return nil
}

func checkRule(path string, r *auditv1.PolicyRule) error {
	switch {
	case r.Level == "":
		return fmt.Errorf("%s.level: required value", path)
	case !slices.Contains(levels, r.Level):
		return fmt.Errorf("%s.level: unsupported value: %q: supported values: %q", path, r.Level, levels)
	case len(r.NonResourceURLs) > 0 && len(r.Resources)+len(r.Namespaces) > 0:
		return fmt.Errorf("%s.nonResourceURLs: rules cannot apply to both regular resources and non-resource URLs", path)
	}
	for i, url := range r.NonResourceURLs {
		switch {
		case url == "*":
		case !strings.HasPrefix(url, "/"):
			return fmt.Errorf("%s.nonResourceURLs[%d]: non-resource URL rules must begin with a '/' character", path, i)
		case strings.Contains(url[:len(url)-1], "*"):
			return fmt.Errorf("%s.nonResourceURLs[%d]: non-resource URL wildcards '*' must be the final character of the rule", path, i)
		}
	}
	for i, group := range r.Resources {
		if problems := validation.IsDNS1123Subdomain(group.Group); group.Group != "" && group.Group != "*" && len(problems) > 0 {
			return fmt.Errorf("%s.resources[%d].group: %s", path, i, strings.Join(problems, ","))
		}
		if len(group.ResourceNames) > 0 && len(group.Resources) == 0 {
			return fmt.Errorf("%s.resources[%d].resourceNames: using resourceNames requires at least one resource", path, i)
		}
	}
	return checkStages(path+".omitStages", r.OmitStages)
}

// DefaultPolicy notes who did what and what came of it, and nothing of what was sent or answered. Questions about health,
// which come all the time, are left out.
func DefaultPolicy() *auditv1.Policy {
	return &auditv1.Policy{
		OmitStages: []auditv1.Stage{auditv1.StageRequestReceived},
		Rules: []auditv1.PolicyRule{
			{Level: auditv1.LevelNone, NonResourceURLs: []string{"/healthz*", "/livez*", "/readyz*", "/version", "/metrics"}},
			{Level: auditv1.LevelMetadata},
		},
	}
}

// Request is what rules ask of a request.
type Request struct {
	User                         string
	Groups                       []string
	Verb                         string
	Resource                     bool
	Group, Version, Plural, Name string
	Namespace, Subresource       string
	Path                         string
}

// decision is what a policy says about a request.
type decision struct {
	level             auditv1.Level
	omit              []auditv1.Stage
	omitManagedFields bool
}

// decide asks the rules in order; the first that matches counts. What none matches is not noted.
func decide(p *auditv1.Policy, r *Request) decision {
	for i := range p.Rules {
		rule := &p.Rules[i]
		if !matches(rule, r) {
			continue
		}
		d := decision{level: rule.Level, omit: slices.Concat(p.OmitStages, rule.OmitStages), omitManagedFields: p.OmitManagedFields}
		if rule.OmitManagedFields != nil {
			d.omitManagedFields = *rule.OmitManagedFields
		}
		return d
	}
	return decision{level: auditv1.LevelNone}
}

func matches(rule *auditv1.PolicyRule, r *Request) bool {
	switch {
	case len(rule.Users) > 0 && !slices.Contains(rule.Users, r.User),
		len(rule.UserGroups) > 0 && !slices.ContainsFunc(r.Groups, func(g string) bool { return slices.Contains(rule.UserGroups, g) }),
		len(rule.Verbs) > 0 && !slices.Contains(rule.Verbs, r.Verb):
		return false
	case len(rule.Namespaces) > 0 || len(rule.Resources) > 0:
		return r.Resource && matchesResource(rule, r)
	case len(rule.NonResourceURLs) > 0:
		return !r.Resource && slices.ContainsFunc(rule.NonResourceURLs, func(pattern string) bool {
			prefix, open := strings.CutSuffix(pattern, "*")
			return r.Path == pattern || open && strings.HasPrefix(r.Path, prefix)
		})
	}
	return true
}

func matchesResource(rule *auditv1.PolicyRule, r *Request) bool {
	if len(rule.Namespaces) > 0 && !slices.Contains(rule.Namespaces, r.Namespace) {
		return false
	}
	return len(rule.Resources) == 0 || slices.ContainsFunc(rule.Resources, func(g auditv1.GroupResources) bool {
		switch {
		case g.Group != r.Group && g.Group != "*":
			return false
		case len(g.Resources) == 0:
			return true
		case len(g.ResourceNames) > 0 && !slices.Contains(g.ResourceNames, r.Name):
			return false
		}
		return slices.ContainsFunc(g.Resources, r.named)
	})
}

// named says whether "pods", "pods/log", "pods/*", "*/log" or "*" means the request's resource.
func (r *Request) named(pattern string) bool {
	whole := r.Plural
	if r.Subresource != "" {
		whole += "/" + r.Subresource
	}
	return pattern == "*" || pattern == whole || pattern == r.Plural+"/*" || r.Subresource != "" && pattern == "*/"+r.Subresource
}
