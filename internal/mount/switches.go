package mount

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/fairlead-go/fairlead/internal/session"
)

// option is a setting that a switch in the startup parameter options makes.
type option struct{ name, value string }

// The server's switches, as its process_postgres_switches has them: those that need an argument, and those that a client may give without any
// effect.
const (
	withArgument = "BCcDdfhkNprStvW-"
	ineffective  = "bCDEjnrTv"
)

// switches are the settings that switches without more to them make. The server has the last word: it refuses by name what cannot be set any more.
var switches = map[byte][]option{
	'e': {{"datestyle", "euro"}}, 'F': {{"fsync", "false"}}, 'i': {{"listen_addresses", "*"}}, 'l': {{"ssl", "true"}}, 'O': {{"allow_system_table_mods", "true"}},
	'P': {{"ignore_system_indexes", "true"}}, 's': {{"log_statement_stats", "true"}},
}

// argued are the settings whose values are the arguments of switches.
var argued = map[byte]string{
	'B': "shared_buffers", 'h': "listen_addresses", 'k': "unix_socket_directories", 'N': "max_connections", 'p': "port", 'S': "work_mem", 'W': "post_auth_delay",
}

// planners are the settings that -f turns off, and statistics those that -t turns on.
var (
	planners = map[string]string{
		"s": "enable_seqscan", "i": "enable_indexscan", "o": "enable_indexonlyscan", "b": "enable_bitmapscan", "t": "enable_tidscan", "n": "enable_nestloop", "m": "enable_mergejoin", "h": "enable_hashjoin",
	}
	statistics = map[string]string{"pa": "log_parser_stats", "pl": "log_planner_stats", "e": "log_executor_stats"}
)

// invalidSwitch is what a server says of a switch that it does not know.
func invalidSwitch(word string) *session.Problem {
	return &session.Problem{Code: "42601", Message: "invalid command-line argument for server process: " + word, Hint: `Try "postgres --help" for more information.`}
}

// parseOptions reads the startup parameter options as a server does, which takes it for a part of its command line.
func parseOptions(s string) (list []option, problem *session.Problem) {
	words := optionWords(s)
	stray := "" // the first word that is no switch
	for i := 0; i < len(words); i++ {
		word := words[i]
		if word == "--" { // the end of the switches
			if i+1 < len(words) && stray == "" {
				stray = words[i+1]
			}
			break
		}
		if len(word) < 2 || word[0] != '-' {
			stray = cmp.Or(stray, word)
			continue
		}
		made, last, problem := readWord(words, i)
		if problem != nil {
			return nil, problem
		}
		list, i = append(list, made...), last
	}
	if stray != "" {
		return nil, invalidSwitch(stray)
	}
	return list, nil
}

// readWord reads the switches in a word, with the argument that may be in the next one; last is the last word that was read.
func readWord(words []string, i int) (list []option, last int, problem *session.Problem) {
	for letters := words[i][1:]; letters != ""; {
		letter := letters[0]
		letters = letters[1:]
		argument, last := "", i
		if strings.IndexByte(withArgument, letter) >= 0 {
			if argument, letters = letters, ""; argument == "" {
				if last++; last == len(words) {
					return nil, i, invalidSwitch(words[i])
				}
				argument = words[last]
			}
		}
		made, problem := settingsOf(letter, argument)
		switch {
		case problem == nil:
		case problem.Message != "":
			return nil, last, problem
		case letters != "" && i == 0: // the server complains about the word before the one that it is not through with
			return nil, last, invalidSwitch("postgres")
		case letters != "":
			return nil, last, invalidSwitch(words[i-1])
		default:
			return nil, last, invalidSwitch(words[last])
		}
		if list = append(list, made...); last > i {
			return list, last, nil
		}
	}
	return list, i, nil
}

// settingsOf are those that a switch makes. A Problem that says nothing is one that the server has with the whole word.
func settingsOf(letter byte, argument string) ([]option, *session.Problem) {
	unknown := new(session.Problem)
	switch letter {
	case 'c', '-':
		name, value, ok := strings.Cut(argument, "=")
		if !ok {
			return nil, &session.Problem{Code: "42601", Message: map[byte]string{'c': "-c ", '-': "--"}[letter] + argument + " requires a value"}
		}
		return []option{{strings.ReplaceAll(name, "-", "_"), value}}, nil
	case 'd':
		return debugging(argument), nil
	case 'f':
		if name, ok := planners[argument]; ok {
			return []option{{name, "false"}}, nil
		}
		return nil, unknown
	case 't':
		if name, ok := statistics[argument]; ok {
			return []option{{name, "true"}}, nil
		}
		return nil, unknown
	}
	if name, ok := argued[letter]; ok {
		return []option{{name, argument}}, nil
	}
	if made, ok := switches[letter]; ok {
		return made, nil
	}
	if strings.IndexByte(ineffective, letter) < 0 {
		return nil, unknown
	}
	return nil, nil
}

// debugging is what -d sets.
func debugging(argument string) []option {
	level, _ := strconv.Atoi(argument) // as atoi: what is no number is 0
	if level <= 0 {
		return []option{{"log_min_messages", "notice"}}
	}
	list := []option{{"log_min_messages", "debug" + strconv.Itoa(level)}}
	for i, o := range []option{{"log_statement", "all"}, {"debug_print_parse", "true"}, {"debug_print_plan", "true"}, {"debug_print_rewritten", "true"}} {
		if level >= i+2 {
			list = append(list, o)
		}
	}
	return list
}

// optionWords cuts at white space. A backslash takes the special meaning from what follows it.
func optionWords(s string) (words []string) {
	var b strings.Builder
	in := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			in = true
			if i++; i < len(s) {
				b.WriteByte(s[i])
			}
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f':
			if in {
				words = append(words, b.String())
				b.Reset()
				in = false
			}
		default:
			b.WriteByte(c)
			in = true
		}
	}
	if in {
		words = append(words, b.String())
	}
	return words
}
