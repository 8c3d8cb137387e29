package main

import (
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"slices"
)

// hookCall goes into ConnectConfig, once it knows that config is a valid one.
const hookCall = `
	if ConnectHook != nil && !config.direct {
		hooked, err := ConnectHook(config)
		if err != nil {
			return nil, &ConnectError{Config: config, err: err}
		}
		config = hooked
	}
`

// directField goes into the struct Config, whose Copy copies all fields.
const directField = `
	direct bool // made by MarkDirect
`

// patchConnect puts the call of the hook behind the first statement of pgconn.ConnectConfig.
func patchConnect(src []byte) ([]byte, error) {
	file, err := parser.ParseFile(token.NewFileSet(), "", src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	for _, decl := range file.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || fn.Name.Name != "ConnectConfig" || fn.Recv != nil {
			continue
		}
		if got, want := paramNames(fn), []string{"ctx", "config"}; !slices.Equal(got, want) {
			return nil, fmt.Errorf("func ConnectConfig has the parameters %v, not %v", got, want)
		}
		if len(fn.Body.List) == 0 {
			return nil, fmt.Errorf("func ConnectConfig is empty")
		}
		if _, ok := fn.Body.List[0].(*ast.IfStmt); !ok {
			return nil, fmt.Errorf("func ConnectConfig does not begin with the check of its config")
		}
		return insert(src, fn.Body.List[0].End(), hookCall)
	}
	return nil, fmt.Errorf("there is no func ConnectConfig")
}

// patchConfig adds the field that MarkDirect sets to pgconn.Config.
func patchConfig(src []byte) ([]byte, error) {
	file, err := parser.ParseFile(token.NewFileSet(), "", src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range gen.Specs {
			typ, ok := spec.(*ast.TypeSpec)
			if !ok || typ.Name.Name != "Config" {
				continue
			}
			s, ok := typ.Type.(*ast.StructType)
			if !ok {
				return nil, fmt.Errorf("type Config is no struct")
			}
			return insert(src, s.Fields.Closing, directField)
		}
	}
	return nil, fmt.Errorf("there is no type Config")
}

func paramNames(fn *ast.FuncDecl) []string {
	var names []string
	for _, field := range fn.Type.Params.List {
		for _, name := range field.Names {
			names = append(names, name.Name)
		}
	}
	return names
}

// insert puts text at a position of a file that is alone in its FileSet.
func insert(src []byte, at token.Pos, text string) ([]byte, error) {
	offset := int(at) - 1
	return format.Source(slices.Concat(src[:offset], []byte(text), src[offset:]))
}
