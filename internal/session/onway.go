package session

import "slices"

// parseQueue has the shared names of the Parses on their way to the server, in their order; empty ones for those that make no shared
// statement. To ask for a name costs the same however many there are.
type parseQueue struct {
	names []string
	count map[string]int // of the names in it; nil while there are few
}

// fewNames is how many names are looked through one by one.
const fewNames = 16

func (q *parseQueue) push(name string) {
	q.names = append(q.names, name)
	switch {
	case q.count != nil:
		q.count[name]++
	case len(q.names) > fewNames:
		q.count = make(map[string]int, 2*len(q.names))
		for _, n := range q.names {
			q.count[n]++
		}
	}
}

// pop returns the first name and takes it out, an empty one where there is none.
func (q *parseQueue) pop() (name string) {
	if len(q.names) == 0 {
		return ""
	}
	name, q.names = q.names[0], q.names[1:]
	switch {
	case len(q.names) == 0:
		*q = parseQueue{}
	case q.count != nil:
		if q.count[name]--; q.count[name] == 0 {
			delete(q.count, name)
		}
	}
	return name
}

func (q *parseQueue) first() string {
	if len(q.names) == 0 {
		return ""
	}
	return q.names[0]
}

func (q *parseQueue) has(name string) bool {
	if q.count != nil {
		return q.count[name] > 0
	}
	return slices.Contains(q.names, name)
}
