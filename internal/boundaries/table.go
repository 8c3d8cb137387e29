package boundaries

import (
	_ "embed"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/fairlead-go/fairlead/rdstest/front"
)

//go:embed table.md
var preface string

// WriteTable writes what the modes have come to, for readers, as Markdown.
func WriteTable(w io.Writer, results []*Result) error {
	var b strings.Builder
	b.WriteString(preface)
	total := 0
	var names []string
	for _, r := range results {
		total += r.Runs
		names = append(names, string(r.Mode))
	}
	fmt.Fprintf(&b, "\n%d runs in all, %s. Lost, doubled, refused but happened, or an error without one of the SQLSTATEs below: %d.\n",
		total, strings.Join(names, " and "), problems(results))
	summary(&b, results, names)
	group := ""
	for _, u := range units {
		rows := detail(results, u.name)
		if len(rows) == 0 {
			continue
		}
		if u.group != group {
			group = u.group
			fmt.Fprintf(&b, "\n## %s\n", group)
		}
		fmt.Fprintf(&b, "\n### %s\n\n", heading(u.name))
		line(&b, append([]string{"through", "to the", "cut"}, names...)...)
		rule(&b, 3+len(names))
		for _, row := range rows {
			line(&b, row...)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func problems(results []*Result) (n int) {
	for _, r := range results {
		n += len(r.Problems)
	}
	return n
}

func heading(name string) string { return strings.ToUpper(name[:1]) + name[1:] }

func line(b *strings.Builder, cells ...string) {
	b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
}

func rule(b *strings.Builder, n int) { b.WriteString(strings.Repeat("|---", n) + "|\n") }

// summary has a line for each unit: which verdicts there were, and at how many places.
func summary(b *strings.Builder, results []*Result, names []string) {
	b.WriteString("\n")
	line(b, append([]string{"work"}, names...)...)
	rule(b, 1+len(names))
	for _, u := range units {
		row := []string{u.name}
		for _, r := range results {
			counts := make(map[string]int)
			for _, a := range r.Accounts {
				if a.Unit != u.name {
					continue
				}
				for _, p := range a.Places {
					for _, v := range p.Verdicts {
						counts[v]++
					}
				}
			}
			var list []string
			for v := range counts {
				list = append(list, v)
			}
			slices.SortFunc(list, func(a, b string) int {
				if counts[a] != counts[b] {
					return counts[b] - counts[a]
				}
				return strings.Compare(a, b)
			})
			row = append(row, strings.Join(list, "; "))
		}
		if strings.Join(row[1:], "") != "" {
			line(b, row...)
		}
	}
}

// detail are the rows of one unit. Clients of which the same can be said share theirs.
func detail(results []*Result, name string) (rows [][]string) {
	var leaders []string
	shared := make(map[string][]string) // by leader
	for _, client := range clientNames {
		if accountsOf(results, name, client) == nil {
			continue
		}
		i := slices.IndexFunc(leaders, func(leader string) bool { return agree(results, name, leader, client) })
		if i < 0 {
			leaders, i = append(leaders, client), len(leaders)
		}
		shared[leaders[i]] = append(shared[leaders[i]], titles[client])
	}
	for _, leader := range leaders {
		for _, body := range ranges(results, name, leader) {
			rows = append(rows, append([]string{strings.Join(shared[leader], ", ")}, body...))
		}
	}
	return rows
}

// accountsOf are a unit's through one client, of all results; nil if one has none.
func accountsOf(results []*Result, name, client string) (list []*Account) {
	for _, r := range results {
		i := slices.IndexFunc(r.Accounts, func(a Account) bool { return a.Unit == name && a.Client == client })
		if i < 0 {
			return nil
		}
		list = append(list, &r.Accounts[i])
	}
	return list
}

// agree reports whether two clients have the same messages and, wherever both were cut, the same verdicts.
func agree(results []*Result, name, leader, client string) bool {
	theirs, ours := accountsOf(results, name, leader), accountsOf(results, name, client)
	for n, a := range ours {
		b := theirs[n]
		if !slices.Equal(a.Messages, b.Messages) {
			return false
		}
		for _, p := range a.Places {
			for _, q := range b.Places {
				if p.point == q.point && !slices.Equal(p.Verdicts, q.Verdicts) {
					return false
				}
			}
		}
	}
	return true
}

// ranges are the rows of one unit and client: places next to each other with the same verdicts are one.
func ranges(results []*Result, name, client string) (rows [][]string) {
	accounts := accountsOf(results, name, client)
	together := !slices.ContainsFunc(accounts, func(a *Account) bool { return !sameMessages(a, accounts[0]) })
	if together {
		return accountRanges(accounts, 0, len(accounts))
	}
	// The evidence has other messages: each mode has rows of its own.
	for i, a := range accounts {
		rows = append(rows, accountRanges([]*Account{a}, i, len(accounts))...)
	}
	return rows
}

func sameMessages(a, b *Account) bool {
	for _, side := range []front.Side{front.Client, front.Server} {
		if !slices.Equal(a.names(side), b.names(side)) {
			return false
		}
	}
	return len(a.Places) == len(b.Places)
}

// names are the messages of one side.
func (a *Account) names(side front.Side) (list []string) {
	for _, m := range a.Messages {
		if m.From == side {
			list = append(list, m.Name)
		}
	}
	return list
}

// accountRanges are rows for accounts with the same messages, whose columns begin at column of all.
func accountRanges(accounts []*Account, column, columns int) (rows [][]string) {
	places := accounts[0].Places
	cells := func(i int) []string {
		list := make([]string, columns)
		for n, a := range accounts {
			list[column+n] = strings.Join(a.Places[i].Verdicts, " or ")
		}
		return list
	}
	for i := 0; i < len(places); {
		row, last := cells(i), i
		for last+1 < len(places) && places[last+1].from == places[i].from && slices.Equal(cells(last+1), row) {
			last++
		}
		receiver := "server"
		if places[i].from == front.Server {
			receiver = "client"
		}
		text := accounts[0].place(places[i].point)
		if last > i {
			text += " … " + accounts[0].place(places[last].point)
		}
		rows = append(rows, append([]string{receiver, text}, row...))
		i = last + 1
	}
	return rows
}

// place is a point in words.
func (a *Account) place(p point) string {
	when := "before"
	if p.when == front.After {
		when = "after"
	}
	return fmt.Sprintf("%s %d %s", when, p.n, a.names(p.from)[p.n-1])
}
