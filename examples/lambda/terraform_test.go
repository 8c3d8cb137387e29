// Package lambda has functions with Terraform to deploy them.
package lambda

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// module is what a directory of Terraform declares and refers to.
type module struct {
	declared map[string]bool // var.x, aws_y.z, data.y.z, module.m
	required []string        // variables without a default
	used     []string
	calls    map[string][]string // of a module's source, with the arguments
}

func read(t *testing.T, dir string) *module {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.tf"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: %d files, %v", dir, len(paths), err)
	}
	m := &module{declared: make(map[string]bool), calls: make(map[string][]string)}
	for _, path := range paths {
		file, diags := hclparse.NewParser().ParseHCLFile(path)
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		for _, block := range file.Body.(*hclsyntax.Body).Blocks {
			m.block(block)
		}
		diags = hclsyntax.VisitAll(file.Body.(*hclsyntax.Body), func(n hclsyntax.Node) hcl.Diagnostics {
			if e, ok := n.(*hclsyntax.ScopeTraversalExpr); ok {
				m.refer(e.Traversal)
			}
			return nil
		})
		if diags.HasErrors() {
			t.Fatal(diags)
		}
	}
	return m
}

func (m *module) block(b *hclsyntax.Block) {
	switch b.Type {
	case "variable":
		m.declared["var."+b.Labels[0]] = true
		if b.Body.Attributes["default"] == nil {
			m.required = append(m.required, b.Labels[0])
		}
	case "resource":
		m.declared[strings.Join(b.Labels, ".")] = true
	case "data":
		m.declared["data."+strings.Join(b.Labels, ".")] = true
	case "module":
		m.declared["module."+b.Labels[0]] = true
		var arguments []string
		for name := range b.Body.Attributes {
			arguments = append(arguments, name)
		}
		source, _ := b.Body.Attributes["source"].Expr.Value(nil)
		m.calls[source.AsString()] = arguments
	}
}

func (m *module) refer(t hcl.Traversal) {
	parts := []string{t.RootName()}
	for _, step := range t[1:] {
		attr, ok := step.(hcl.TraverseAttr)
		if !ok {
			break
		}
		parts = append(parts, attr.Name)
	}
	n := 2
	switch parts[0] {
	case "data":
		n = 3
	case "path", "string", "number", "list", "map":
		return
	}
	m.used = append(m.used, strings.Join(parts[:min(n, len(parts))], "."))
}

func TestTerraformDeclaresWhatItRefersTo(t *testing.T) {
	inner := read(t, "module")
	for _, dir := range []string{"module", "go", "python", "node"} {
		m := read(t, dir)
		for _, name := range m.used {
			if !m.declared[name] {
				t.Errorf("%s: %s is not declared", dir, name)
			}
		}
		if dir == "module" {
			continue
		}
		arguments := m.calls["../module"]
		for _, name := range inner.required {
			if !slices.Contains(arguments, name) {
				t.Errorf("%s: the module's variable %s has no value", dir, name)
			}
		}
		for _, name := range arguments {
			if name != "source" && !inner.declared["var."+name] {
				t.Errorf("%s: the module has no variable %s", dir, name)
			}
		}
	}
}

func TestTerraformHasWhatAFunctionNeeds(t *testing.T) {
	var all strings.Builder
	for _, dir := range []string{"module", "go", "python", "node"} {
		paths, err := filepath.Glob(filepath.Join(dir, "*.tf"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(text)
		}
	}
	for _, needed := range []string{
		"aws_lambda_function", "aws_lambda_layer_version", "vpc_config", "aws_security_group", "rds-db:connect",
		"secretsmanager:GetSecretValue", "aws_cloudwatch_log_group", "AWSLambdaVPCAccessExecutionRole",
	} {
		if !strings.Contains(all.String(), needed) {
			t.Errorf("there is no %s", needed)
		}
	}
}
