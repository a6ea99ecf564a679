//lint:file-ignore SA1019 Fields that are deprecated are cleared and warned of here.

package resource

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/core/validation"
)

func nodes(o Options) *Kind {
	return &Kind{
		GroupVersionKind:    corev1.SchemeGroupVersion.WithKind("Node"),
		Plural:              "nodes",
		Singular:            "node",
		ShortNames:          []string{"no"},
		New:                 newObject[corev1.Node],
		NewList:             newList[corev1.NodeList],
		Derive:              derived[core.Node, corev1.Node](),
		UnconditionalUpdate: true,

		PrepareForCreate: typed(func(n *corev1.Node) {
			n.Spec.ConfigSource, n.Status.Config = nil, nil
		}),
		PrepareForUpdate: typedUpdate(func(n, old *corev1.Node) {
			n.Status = *old.Status.DeepCopy()
			if old.Spec.ConfigSource == nil {
				n.Spec.ConfigSource = nil
			}
		}),
		Validate:       validate(validation.ValidateNode),
		ValidateUpdate: validateBoth(validation.ValidateNode, validation.ValidateNodeUpdate),
		Warnings:       typedWarnings(func(n, _ *corev1.Node) []string { return nodeWarnings(n) }),
		Resets:         resets(statusField),

		Claims: nodeClaims,
		Allocate: func(obj, _ Object, taken func(string) bool) error {
			return allocatePodCIDR(obj.(*corev1.Node), o.PodCIDR, taken)
		},

		Fields: func(obj Object) fields.Set {
			return fields.Set{"spec.unschedulable": strconv.FormatBool(obj.(*corev1.Node).Spec.Unschedulable)}
		},
		FieldNames: []string{"spec.unschedulable"},
		Columns:    nodeColumns(),
		Row:        row(nodeRow),
		Subresources: map[string]*Subresource{"status": {
			PrepareForUpdate: typedUpdate(func(n, old *corev1.Node) {
				n.Spec = *old.Spec.DeepCopy()
				if old.Status.Config == nil {
					n.Status.Config = nil
				}
			}),
			ValidateUpdate: validateUpdate(validation.ValidateNodeUpdate),
			Resets:         resets(specField),
		}},
	}
}

func nodeWarnings(n *corev1.Node) []string {
	var warnings []string
	if n.Spec.ConfigSource != nil {
		warnings = append(warnings, "spec.configSource: the feature is removed")
	}
	if n.Spec.DoNotUseExternalID != "" {
		warnings = append(warnings, "spec.externalID: this field is deprecated, and is unused by Kubernetes")
	}
	for i, c := range n.Spec.PodCIDRs {
		warnings = append(warnings, utilvalidation.GetWarningsForCIDR(field.NewPath("spec", "podCIDRs").Index(i), c)...)
	}
	return warnings
}

func podCIDRClaim(cidr string) string { return "podcidr/" + cidr }

// nodeClaims are the node's blocks of pod addresses.
func nodeClaims(obj Object) []string {
	var claims []string
	for _, c := range obj.(*corev1.Node).Spec.PodCIDRs {
		claims = append(claims, podCIDRClaim(c))
	}
	return claims
}

// nodeBlockBits is the length of the prefix that each node gets: 1024 addresses, so that a thousand pods fit.
const nodeBlockBits = 22

// allocatePodCIDR gives a node without pod addresses the first free block of all.
func allocatePodCIDR(n *corev1.Node, all netip.Prefix, taken func(string) bool) error {
	if n.Spec.PodCIDR != "" || len(n.Spec.PodCIDRs) > 0 {
		return nil
	}
	for block := range blocks(all, nodeBlockBits) {
		if cidr := block.String(); !taken(podCIDRClaim(cidr)) {
			n.Spec.PodCIDR, n.Spec.PodCIDRs = cidr, []string{cidr}
			return nil
		}
	}
	return errors.NewInternalError(fmt.Errorf("no block of pod addresses is free for node %q in %s", n.Name, all))
}

// blocks are the IPv4 subnets of all that have the given prefix length.
func blocks(all netip.Prefix, bits int) func(yield func(netip.Prefix) bool) {
	return func(yield func(netip.Prefix) bool) {
		base := all.Masked().Addr().As4()
		first := binary.BigEndian.Uint32(base[:])
		for i := uint32(0); i < 1<<max(0, bits-all.Bits()); i++ {
			var a [4]byte
			binary.BigEndian.PutUint32(a[:], first+i<<(32-bits))
			if !yield(netip.PrefixFrom(netip.AddrFrom4(a), bits)) {
				return
			}
		}
	}
}

func nodeColumns() []metav1.TableColumnDefinition {
	status, info := corev1.NodeStatus{}.SwaggerDoc(), corev1.NodeSystemInfo{}.SwaggerDoc()
	return []metav1.TableColumnDefinition{
		nameColumn,
		column("Status", "string", "The status of the node"),
		column("Roles", "string", "The roles of the node"),
		ageColumn,
		column("Version", "string", info["kubeletVersion"]),
		wide("Internal-IP", "string", status["addresses"]),
		wide("External-IP", "string", status["addresses"]),
		wide("OS-Image", "string", info["osImage"]),
		wide("Kernel-Version", "string", info["kernelVersion"]),
		wide("Container-Runtime", "string", info["containerRuntimeVersion"]),
	}
}

func nodeRow(n *corev1.Node) []any {
	info := n.Status.NodeInfo
	kernel := cmp.Or(info.KernelVersion, "<unknown>")
	if info.Architecture != "" {
		kernel += " (" + info.Architecture + ")"
	}
	return []any{
		n.Name, nodeStatus(n), orNone(nodeRoles(n.Labels)), age(n), info.KubeletVersion,
		nodeAddress(n, corev1.NodeInternalIP), nodeAddress(n, corev1.NodeExternalIP),
		cmp.Or(info.OSImage, "<unknown>"), kernel, cmp.Or(info.ContainerRuntimeVersion, "<unknown>"),
	}
}

func nodeStatus(n *corev1.Node) string {
	status := "Unknown"
	for _, c := range n.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		if c.Status == corev1.ConditionTrue {
			status = "Ready"
		} else {
			status = "NotReady"
		}
	}
	if n.Spec.Unschedulable {
		status += ",SchedulingDisabled"
	}
	return status
}

// nodeRoles reads the roles from the labels node-role.kubernetes.io/ROLE and kubernetes.io/role=ROLE.
func nodeRoles(labels map[string]string) string {
	var roles []string
	for k, v := range labels {
		if role, ok := strings.CutPrefix(k, "node-role.kubernetes.io/"); ok && role != "" {
			roles = append(roles, role)
		} else if k == "kubernetes.io/role" && v != "" {
			roles = append(roles, v)
		}
	}
	slices.Sort(roles)
	return strings.Join(slices.Compact(roles), ",")
}

func nodeAddress(n *corev1.Node, t corev1.NodeAddressType) string {
	for _, a := range n.Status.Addresses {
		if a.Type == t {
			return a.Address
		}
	}
	return "<none>"
}
