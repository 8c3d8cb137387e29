package topology

import (
	"fmt"
	"time"
)

// auroraOf makes n Aurora instances whose hosts are 10.0.0.<id>, the first of them the writer.
func auroraOf(n int) []*server {
	var all []*server
	for i := range n {
		id := fmt.Sprint(i + 1)
		all = append(all, &server{id: "10.0.0." + id + ":5432", Report: Report{
			Kind: KindAurora, ID: id, InRecovery: i > 0, Boot: "boot-" + id, WriterID: "1", Members: membersOf(n, 1),
		}})
	}
	return all
}

func membersOf(n, writer int) (ms []Member) {
	for i := 1; i <= n; i++ {
		ms = append(ms, Member{ID: fmt.Sprint(i), IsWriter: i == writer, Lag: 10 * time.Millisecond})
	}
	return ms
}
