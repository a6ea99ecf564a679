package customresource

import (
	"bytes"
	"fmt"
	"reflect"
	"sync"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/duration"
)

var metaDescriptions = metav1.ObjectMeta{}.SwaggerDoc()

// ageColumn is shown where a definition names no columns.
var ageColumn = apiextensionsv1.CustomResourceColumnDefinition{
	Name: "Age", Type: "date", Description: metaDescriptions["creationTimestamp"], JSONPath: ".metadata.creationTimestamp",
}

// Columns shows objects as rows of a table.
type Columns struct {
	Heads []metav1.TableColumnDefinition
	paths []*Path

	mu sync.Mutex // a parsed path keeps notes while it is followed
}

// NewColumns reads additionalPrinterColumns. Of a column whose path cannot be read, and of those behind it, nothing is
// shown.
func NewColumns(defs []apiextensionsv1.CustomResourceColumnDefinition) *Columns {
	if len(defs) == 0 {
		defs = []apiextensionsv1.CustomResourceColumnDefinition{ageColumn}
	}
	c := &Columns{Heads: []metav1.TableColumnDefinition{{Name: "Name", Type: "string", Format: "name", Description: metaDescriptions["name"]}}}
	for _, def := range defs {
		path, err := ParsePath(def.JSONPath)
		if err != nil {
			break
		}
		description := def.Description
		if description == "" {
			description = "Custom resource definition column (in JSONPath format): " + def.JSONPath
		}
		c.paths = append(c.paths, path)
		c.Heads = append(c.Heads, metav1.TableColumnDefinition{
			Name: def.Name, Type: def.Type, Format: def.Format, Description: description, Priority: def.Priority,
		})
	}
	return c
}

// Row are the cells of an object.
func (c *Columns) Row(u *unstructured.Unstructured) []any {
	c.mu.Lock()
	defer c.mu.Unlock()
	cells := []any{u.GetName()}
	for i, path := range c.paths {
		cells = append(cells, path.cell(u.Object, c.Heads[i+1].Type))
	}
	return cells
}

// cell is nil where the path leads nowhere, or to something of another type.
func (p *Path) cell(object map[string]any, typ string) any {
	results, err := p.parser.FindResults(object)
	if err != nil || len(results) == 0 || len(results[0]) == 0 {
		return nil
	}
	value := results[0][0].Interface()
	if typ != "string" {
		return cell(typ, value)
	}
	var text bytes.Buffer
	if err := p.parser.PrintResults(&text, []reflect.Value{reflect.ValueOf(value)}); err != nil {
		return nil
	}
	return text.String()
}

func cell(typ string, value any) any {
	number, isFloat := value.(float64)
	integer, isInt := value.(int64)
	switch {
	case typ == "integer" && isFloat:
		return int64(number)
	case typ == "integer" && isInt:
		return integer
	case typ == "number" && isInt:
		return float64(integer)
	case typ == "number" && isFloat:
		return number
	case typ == "date":
		if text, ok := value.(string); ok {
			return age(text)
		}
	case typ == "boolean":
		if b, ok := value.(bool); ok {
			return b
		}
	}
	return nil
}

// age is how long ago the time in text was.
func age(text string) string {
	var at metav1.Time
	if err := at.UnmarshalQueryParameter(text); err != nil {
		return "<invalid>"
	}
	if at.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(time.Since(at.Time))
}

// Selectable are the fields that field selectors may select by.
type Selectable struct {
	Names []string
	paths []*Path
	mu    sync.Mutex
}

// NewSelectable reads selectableFields. Errors: a path that is none.
func NewSelectable(defs []apiextensionsv1.SelectableField) (*Selectable, error) {
	s := &Selectable{}
	for _, def := range defs {
		path, err := ParsePath(def.JSONPath)
		if err != nil {
			return nil, fmt.Errorf("selectable field %s: %w", def.JSONPath, err)
		}
		s.paths, s.Names = append(s.paths, path), append(s.Names, path.Name())
	}
	return s, nil
}

// Fields are an object's values; "" where there is none.
func (s *Selectable) Fields(u *unstructured.Unstructured) fields.Set {
	s.mu.Lock()
	defer s.mu.Unlock()
	set := fields.Set{}
	for _, path := range s.paths {
		set[path.Name()] = ""
		results, err := path.parser.FindResults(u.Object)
		if err == nil && len(results) > 0 && len(results[0]) > 0 {
			if value := results[0][0].Interface(); value != nil {
				set[path.Name()] = fmt.Sprint(value)
			}
		}
	}
	return set
}
