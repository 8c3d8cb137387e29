package pooler

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	yamltoken "github.com/goccy/go-yaml/token"

	"github.com/fairlead-go/fairlead/internal/misspelt"
)

// placed is what is wrong at a place of a file. Nothing of the file is in it: any word may be a secret in the wrong place.
type placed struct {
	line, column int
	what         string
}

func (p *placed) Error() string { return fmt.Sprintf("[%d:%d] %s", p.line, p.column, p.what) }

func at(t *yamltoken.Token, what string) error {
	if t == nil || t.Position == nil {
		return errors.New(what)
	}
	return &placed{t.Position.Line, t.Position.Column, what}
}

// byteOrderMark begins texts of some editors.
const byteOrderMark = "\ufeff"

// readYAML decodes a file. The decoder panics at some texts that are no YAML, and a reload must not end the process.
func readYAML(text []byte) (f file, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("it cannot be read as YAML")
		}
	}()
	text = bytes.TrimPrefix(text, []byte(byteOrderMark))
	switch {
	case bytes.HasPrefix(text, []byte{0xff, 0xfe}) || bytes.HasPrefix(text, []byte{0xfe, 0xff}):
		return f, &placed{1, 1, "it is in UTF-16: save it in UTF-8"}
	case !utf8.Valid(text):
		return f, invalidUTF8(text)
	}
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		return f, withoutSource(err)
	}
	if len(tree.Docs) > 1 {
		return f, at(tree.Docs[1].GetToken(), "a second document begins: one is expected")
	}
	var w looker
	for _, doc := range tree.Docs {
		if doc.Body != nil {
			ast.Walk(&w, doc.Body)
		}
	}
	if w.err != nil {
		return f, w.err
	}
	err = yaml.NewDecoder(bytes.NewReader(text), yaml.DisallowUnknownField()).Decode(&f)
	if errors.Is(err, io.EOF) {
		return f, errors.New("it is empty")
	}
	return f, withoutSource(err)
}

func invalidUTF8(text []byte) error {
	p := placed{line: 1, column: 1, what: "it is not in UTF-8"}
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		if r == utf8.RuneError && n == 1 {
			break
		}
		if p.column++; r == '\n' {
			p.line, p.column = p.line+1, 1
		}
		text = text[n:]
	}
	return &p
}

// looker looks for what YAML takes as it stands, and nobody means so.
type looker struct{ err error }

// variable is how other programs' files name a variable of the environment.
var variable = regexp.MustCompile(`\$\{[A-Za-z_][A-Za-z0-9_]*([:?+=-][^}]*)?\}|^\$[A-Z_][A-Z0-9_]+$`)

// needed are keys that make no sense with nothing behind them.
var needed = []string{"password", "password_file", "secret_id", "dsn", "dsn_file", "auth_dsn", "auth_dsn_file"}

// Visit implements ast.Visitor.
func (l *looker) Visit(n ast.Node) ast.Visitor {
	if l.err != nil {
		return nil
	}
	switch n := n.(type) {
	case *ast.StringNode:
		l.text(n, n.Value)
	case *ast.LiteralNode:
		l.text(n, n.Value.Value)
	case *ast.MappingValueNode:
		if n.Value.Type() == ast.NullType && slices.Contains(needed, n.Key.GetToken().Value) {
			l.err = at(n.Key.GetToken(), "nothing stands behind this key: a value is missing here")
		}
	}
	return l
}

func (l *looker) text(n ast.Node, value string) {
	if variable.MatchString(value) {
		l.err = at(n.GetToken(), "variables of the environment are not put in here: write the value itself, or keep a secret in a file of its own (password_file, dsn_file)")
	}
}

// known are the keys of a file, wherever they may stand.
var known = keysOf(reflect.TypeFor[file](), nil)

func keysOf(t reflect.Type, keys []string) []string {
	switch t.Kind() {
	case reflect.Slice, reflect.Map:
		return keysOf(t.Elem(), keys)
	case reflect.Struct:
		for i := range t.NumField() {
			keys = keysOf(t.Field(i).Type, append(keys, t.Field(i).Tag.Get("yaml")))
		}
	}
	return keys
}

// withoutSource is an error of the decoder with its place, and with none of the words that stand there.
func withoutSource(err error) error {
	var own *placed
	var mismatch *yaml.TypeError
	var overflow *yaml.OverflowError
	var twice *yaml.DuplicateKeyError
	var unknown *yaml.UnknownFieldError
	var node *yaml.UnexpectedNodeTypeError
	var syntax *yaml.SyntaxError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &own):
		return own
	case errors.As(err, &mismatch):
		return at(mismatch.Token, nounOf(mismatch.DstType)+" is expected here")
	case errors.As(err, &overflow):
		return at(overflow.Token, "the number is too large, or below zero")
	case errors.As(err, &twice):
		return at(twice.Token, "this key is there twice")
	case errors.As(err, &unknown):
		what := "this key is not known"
		if near := misspelt.Nearest(unknown.Token.Value, known); near != "" {
			what += ": did you mean " + near + "?"
		}
		return at(unknown.Token, what)
	case errors.As(err, &node):
		return at(node.Token, node.Actual.YAMLName()+" was used where "+node.Expected.YAMLName()+" is expected")
	case errors.As(err, &syntax):
		return at(syntax.Token, "it is no YAML here: "+reason(syntax.Message))
	}
	return errors.New("it cannot be read as YAML")
}

// quoted is what a message has of the file: it is in quotation marks there.
var quoted = regexp.MustCompile("\"[^\"]*\"|`[^`]*`")

// reason is a message of the parser's. Those that have something of the file in them are said in other words.
func reason(message string) string {
	switch {
	case strings.Contains(message, "alias") || strings.Contains(message, "anchor"):
		return "a value that begins with * or & is the name of another one: put it in quotation marks"
	case strings.Contains(message, "\n") || strings.Contains(message, "%q") || quoted.MatchString(message):
		return "put the value in quotation marks"
	}
	return message
}

// nounOf is what a value of a type is called.
func nounOf(t reflect.Type) string {
	if t == nil {
		return "something else"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64, reflect.Uint, reflect.Uint64:
		return "a number"
	case reflect.String:
		return "a text"
	case reflect.Slice, reflect.Array:
		return "a list"
	}
	return "a key with a value"
}

// readNamed reads a file that a key names. Its path is in no error: it may be the secret itself that should have been in the file.
func readNamed(key, path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, withoutPath(err))
	}
	return text, nil
}

func withoutPath(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return fmt.Errorf("the file cannot be read: %w", path.Err)
	}
	return err
}
