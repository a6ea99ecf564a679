package resource

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/core/validation"
)

// events are stored in the core group and shown in events.k8s.io too.
func events() *Kind {
	k := eventKind(corev1.SchemeGroupVersion)
	k.New, k.NewList = newObject[corev1.Event], newList[corev1.EventList]
	k.Row = row(eventRow)
	k.Fields = func(obj Object) fields.Set { return eventFields(obj.(*corev1.Event)) }
	k.FieldNames = []string{
		"involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
		"involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath",
		"reason", "reportingComponent", "source", "type",
	}
	return k
}

// regarding are the fields of events.k8s.io, under the names that the core group gives them.
var regarding = map[string]string{
	"reason":                    "reason",
	"regarding.kind":            "involvedObject.kind",
	"regarding.namespace":       "involvedObject.namespace",
	"regarding.name":            "involvedObject.name",
	"regarding.uid":             "involvedObject.uid",
	"regarding.apiVersion":      "involvedObject.apiVersion",
	"regarding.resourceVersion": "involvedObject.resourceVersion",
	"regarding.fieldPath":       "involvedObject.fieldPath",
	"reportingController":       "reportingComponent",
	"type":                      "type",
}

func eventsV1(stored *Kind) *Kind {
	k := eventKind(eventsv1.SchemeGroupVersion)
	k.New, k.NewList = newObject[eventsv1.Event], newList[eventsv1.EventList]
	k.Row = func(obj Object) []any {
		e := &corev1.Event{}
		toExternal(internal[core.Event](obj), e)
		return eventRow(e)
	}
	k.Fields = func(obj Object) fields.Set {
		all, set := eventFields(obj.(*corev1.Event)), fields.Set{}
		for name, core := range regarding {
			set[name] = all[core]
		}
		return set
	}
	k.FieldNames = slices.Sorted(maps.Keys(regarding))
	return viewOf[core.Event](k, stored)
}

// eventKind is what both groups have in common. The rules differ.
func eventKind(gv schema.GroupVersion) *Kind {
	return &Kind{
		Leaf:                true,
		GroupVersionKind:    gv.WithKind("Event"),
		Plural:              "events",
		Singular:            "event",
		ShortNames:          []string{"ev"},
		Namespaced:          true,
		Lazy:                true,
		CreateOnUpdate:      true,
		UnconditionalUpdate: true,

		Validate: validate(func(e *core.Event) field.ErrorList {
			return validation.ValidateEventCreate(e, gv)
		}),
		ValidateUpdate: validateUpdate(func(e, old *core.Event) field.ErrorList {
			return validation.ValidateEventUpdate(e, old, gv)
		}),

		Columns: eventColumns(),
	}
}

func eventFields(e *corev1.Event) fields.Set {
	return fields.Set{
		"involvedObject.kind":            e.InvolvedObject.Kind,
		"involvedObject.namespace":       e.InvolvedObject.Namespace,
		"involvedObject.name":            e.InvolvedObject.Name,
		"involvedObject.uid":             string(e.InvolvedObject.UID),
		"involvedObject.apiVersion":      e.InvolvedObject.APIVersion,
		"involvedObject.resourceVersion": e.InvolvedObject.ResourceVersion,
		"involvedObject.fieldPath":       e.InvolvedObject.FieldPath,
		"reason":                         e.Reason,
		"reportingComponent":             e.ReportingController,
		"source":                         cmp.Or(e.Source.Component, e.ReportingController),
		"type":                           e.Type,
	}
}

func eventColumns() []metav1.TableColumnDefinition {
	doc := corev1.Event{}.SwaggerDoc()
	name := nameColumn
	name.Priority = 1
	return []metav1.TableColumnDefinition{
		column("Last Seen", "string", doc["lastTimestamp"]),
		column("Type", "string", doc["type"]),
		column("Reason", "string", doc["reason"]),
		column("Object", "string", doc["involvedObject"]),
		wide("Subobject", "string", corev1.ObjectReference{}.SwaggerDoc()["fieldPath"]),
		wide("Source", "string", doc["source"]),
		column("Message", "string", doc["message"]),
		wide("First Seen", "string", doc["firstTimestamp"]),
		wide("Count", "string", doc["count"]),
		name,
	}
}

func eventRow(e *corev1.Event) []any {
	first := since(e.FirstTimestamp.Time)
	if e.FirstTimestamp.IsZero() {
		first = since(e.EventTime.Time)
	}
	last, count := first, cmp.Or(e.Count, 1)
	if !e.LastTimestamp.IsZero() {
		last = since(e.LastTimestamp.Time)
	}
	if e.Series != nil {
		last, count = since(e.Series.LastObservedTime.Time), e.Series.Count
	}
	target := strings.ToLower(e.InvolvedObject.Kind)
	if e.InvolvedObject.Name != "" {
		target += "/" + e.InvolvedObject.Name
	}
	source := cmp.Or(e.Source.Component, e.ReportingController)
	if instance := cmp.Or(e.Source.Host, e.ReportingInstance); instance != "" {
		source += ", " + instance
	}
	return []any{
		last, e.Type, e.Reason, target, e.InvolvedObject.FieldPath, source,
		strings.TrimSpace(e.Message), first, int64(count), e.Name,
	}
}
