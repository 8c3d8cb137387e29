package sqltext

import (
	"strconv"
	"strings"
)

// ArgKind is what an argument of set_config is.
type ArgKind uint8

const (
	ArgNull    ArgKind = iota
	ArgLiteral         // Text is its value
	ArgParam           // Param is its number
)

// Arg is an argument as it stands in the text.
type Arg struct {
	Kind  ArgKind
	Text  string // of a literal; "true" or "false" for a boolean
	Param int    // 1 for $1
}

// SetConfigCall is one call of set_config(name, value, is_local).
type SetConfigCall struct {
	Name, Value, Local Arg
}

// SetConfigCalls returns the calls of set_config in a SELECT whose select list is nothing but such calls and that has
// nothing behind it, with arguments that are literals or parameters. No mention of set_config: no calls, and true.
// Or of the one call that pg_dump and pgAdmin make for settings that not every server has, which runs where the answer has a row:
//
//	SELECT set_config(name, 'value', false) FROM pg_settings WHERE name = 'setting'
//	SELECT set_config('setting', 'value', false) FROM pg_show_all_settings() WHERE name = 'setting'
//
// It reports false when set_config is mentioned in any other way: then the session's settings are not known.
func SetConfigCalls(stmt string, o Options) (calls []SetConfigCall, ok bool) {
	if s := lower(stmt); !strings.Contains(s, "set_config") && !strings.Contains(s, `u&"`) {
		return nil, true
	}
	t, err := statement(stmt, o)
	if err != nil || !t.isWord(0, "select") {
		return nil, false
	}
	if call, ok := setConfigIfKnown(&t); ok {
		return []SetConfigCall{call}, true
	}
	for i := 1; ; i++ {
		var call SetConfigCall
		if call, i, ok = setConfigCall(&t, i); !ok {
			return nil, false
		}
		calls = append(calls, call)
		if as := t.isWord(i, "as"); as || isBareLabel(&t, i) {
			if as {
				i++
			}
			if _, ok := t.name(i); !ok {
				return nil, false
			}
			i++
		}
		if t.at(i).kind == tokEnd {
			return calls, true
		}
		if !t.is(i, ",") {
			return nil, false
		}
	}
}

// setConfigIfKnown reads the form of it that looks for the setting among all: its name is the one that is looked for, or a literal.
func setConfigIfKnown(t *tokens) (call SetConfigCall, ok bool) {
	i, ok := setConfigName(t, 1)
	if !ok {
		return call, false
	}
	found := t.isWord(i, "name") && t.is(i+1, ",")
	if found {
		i, ok = setConfigArgs(t, i+2, &call.Value, &call.Local)
	} else {
		i, ok = setConfigArgs(t, i, &call.Name, &call.Value, &call.Local)
	}
	if !ok || call.Local.Kind != ArgLiteral || !t.isWord(i, "from") {
		return call, false
	}
	if i++; t.isWord(i, "pg_catalog") && t.is(i+1, ".") {
		i += 2
	}
	switch {
	case t.isWord(i, "pg_settings"):
		i++
	case t.isWord(i, "pg_show_all_settings") && t.is(i+1, "(") && t.is(i+2, ")"):
		i += 3
	default:
		return call, false
	}
	if !t.isWord(i, "where") || !t.isWord(i+1, "name") || !t.is(i+2, "=") {
		return call, false
	}
	known, i, ok := configArg(t, i+3)
	if found {
		call.Name = known
	}
	return call, ok && known.Kind == ArgLiteral && call.Name.Kind == ArgLiteral && t.at(i).kind == tokEnd
}

func setConfigCall(t *tokens, i int) (call SetConfigCall, next int, ok bool) {
	if i, ok = setConfigName(t, i); !ok {
		return call, i, false
	}
	next, ok = setConfigArgs(t, i, &call.Name, &call.Value, &call.Local)
	return call, next, ok
}

// setConfigName reads the function's name and the parenthesis.
func setConfigName(t *tokens, i int) (next int, ok bool) {
	if name, _ := t.name(i); name == "pg_catalog" && t.is(i+1, ".") {
		i += 2
	}
	name, _ := t.name(i)
	return i + 2, name == "set_config" && t.is(i+1, "(")
}

// setConfigArgs reads the arguments up to the parenthesis. The last is a boolean.
func setConfigArgs(t *tokens, i int, args ...*Arg) (next int, ok bool) {
	for n, arg := range args {
		end := ","
		if n == len(args)-1 {
			end = ")"
		}
		if *arg, i, ok = configArg(t, i); !ok || !t.is(i, end) {
			return i, false
		}
		i++
	}
	local := args[len(args)-1]
	if local.Kind == ArgLiteral {
		b, ok := boolean(local.Text)
		local.Text = strconv.FormatBool(b)
		return i, ok
	}
	return i, true
}

func configArg(t *tokens, i int) (arg Arg, next int, ok bool) {
	text, isString := t.literal(i)
	switch {
	case isString:
		arg = Arg{Kind: ArgLiteral, Text: text}
	case t.isWord(i, "true", "false"):
		arg = Arg{Kind: ArgLiteral, Text: t.word(i)}
	case t.isWord(i, "null"):
	case t.at(i).kind == tokParam:
		n, err := strconv.Atoi(t.raw(i)[1:])
		if err != nil {
			return arg, i, false
		}
		arg = Arg{Kind: ArgParam, Param: n}
	default:
		return arg, i, false
	}
	i++
	for t.is(i, "::") && t.isWord(i+1, "text", "varchar", "bool", "boolean") && !t.is(i+2, "(") && !t.is(i+2, "[") && !t.is(i+2, ".") {
		i += 2
	}
	return arg, i, true
}

// isBareLabel reports whether the i-th token can name a result without AS before it.
func isBareLabel(t *tokens, i int) bool {
	if t.at(i).kind != tokWord {
		return t.at(i).kind == tokQuoted
	}
	k, ok := loadCatalog().keywords[t.word(i)]
	return !ok || k.bare
}

// boolean reads what the server reads as one: any beginning of true, false, yes or no that is not of two, on, off, 1, 0.
func boolean(s string) (value, ok bool) {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "t", "tr", "tru", "true", "y", "ye", "yes", "on", "1":
		return true, true
	case "f", "fa", "fal", "fals", "false", "n", "no", "of", "off", "0":
		return false, true
	}
	return false, false
}
