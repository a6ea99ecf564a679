package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
)

// enums are what kube-apiserver adds to the published documents (its feature OpenAPIEnums): for properties whose
// values are known their list, and descriptions that tell what each is for. By definition and property.
type enums map[string]map[string]map[string]any

// packages say how the functions of Kubernetes' generated definitions are called, and what they define.
var packages = map[string]string{
	"schema_k8sio_api_":                 "io.k8s.api.",
	"schema_pkg_apis_meta_v1_":          "io.k8s.apimachinery.pkg.apis.meta.v1.",
	"schema_pkg_apis_apiextensions_v1_": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.",
}

// readEnums reads them from the source of Kubernetes: to import the package would link it.
func readEnums(dir string) (enums, error) {
	path := filepath.Join(dir, "pkg", "generated", "openapi", "zz_generated.openapi.go")
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	all := enums{}
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		name, ok := definitionName(f.Name.Name)
		if !ok {
			continue
		}
		found, err := enumProperties(f.Body)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name.Name, err)
		}
		if len(found) > 0 {
			all[name] = found
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s lists no values", path)
	}
	return all, nil
}

func definitionName(function string) (string, bool) {
	for prefix, pkg := range packages {
		if rest, ok := strings.CutPrefix(function, prefix); ok {
			return pkg + strings.ReplaceAll(rest, "_", "."), true
		}
	}
	return "", false
}

// enumProperties are the properties of one definition for which values are listed.
func enumProperties(body *ast.BlockStmt) (map[string]map[string]any, error) {
	found := map[string]map[string]any{}
	var failed error
	ast.Inspect(body, func(n ast.Node) bool {
		pair, ok := n.(*ast.KeyValueExpr)
		if !ok || keyName(pair) != "Properties" {
			return true
		}
		for _, e := range pair.Value.(*ast.CompositeLit).Elts {
			p := e.(*ast.KeyValueExpr)
			name, err := text(p.Key)
			if err != nil {
				failed = err
				continue
			}
			schema, listed, err := enumSchema(p.Value)
			if err != nil {
				failed = fmt.Errorf("%s: %w", name, err)
			}
			if listed {
				found[name] = schema
			}
		}
		return false
	})
	return found, failed
}

// enumSchema is what the Go value of a schema says of itself and its items; listed: there are values in it.
func enumSchema(node ast.Node) (schema map[string]any, listed bool, err error) {
	schema = map[string]any{}
	ast.Inspect(node, func(n ast.Node) bool {
		pair, ok := n.(*ast.KeyValueExpr)
		if !ok || err != nil {
			return err == nil
		}
		switch key := keyName(pair); key {
		case "Description":
			schema["description"], err = text(pair.Value)
		case "Enum":
			var values []any
			for _, e := range pair.Value.(*ast.CompositeLit).Elts {
				v, failed := text(e)
				if failed != nil {
					err = failed
				}
				values = append(values, v)
			}
			schema["enum"], listed = values, true
		case "Items", "AdditionalProperties":
			inner, found, failed := enumSchema(pair.Value)
			if err = failed; found {
				schema[strings.ToLower(key[:1])+key[1:]], listed = inner, true
			}
		default:
			return true
		}
		return false
	})
	return schema, listed, err
}

func keyName(pair *ast.KeyValueExpr) string {
	name, _ := pair.Key.(*ast.Ident)
	if name == nil {
		return ""
	}
	return name.Name
}

func text(e ast.Expr) (string, error) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", fmt.Errorf("%T is not a plain string", e)
	}
	return strconv.Unquote(l.Value)
}

// add writes them into definitions.
func (e enums) add(definitions map[string]any) {
	for name, properties := range e {
		definition, _ := definitions[name].(map[string]any)
		into, _ := definition["properties"].(map[string]any)
		for property, schema := range properties {
			if p, ok := into[property].(map[string]any); ok {
				merge(p, schema)
			}
		}
	}
}

func merge(into, from map[string]any) {
	for key, value := range from {
		inner, ok := value.(map[string]any)
		if there, same := into[key].(map[string]any); ok && same {
			merge(there, inner)
			continue
		}
		into[key] = value
	}
}
