package topology_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/fairlead-go/fairlead/topology"
)

// twoServers stands for two servers of which the second is the writer; NewPostgresProber asks real ones.
type twoServers struct{}

func (twoServers) Open(_ context.Context, ep topology.Endpoint, _ []netip.Addr) (topology.Session, error) {
	return answer(ep.Host), nil
}

type answer string

func (a answer) Probe(context.Context) (topology.Report, error) {
	return topology.Report{Kind: topology.KindReplication, InRecovery: a == "10.0.0.1", Timeline: 3, Boot: string(a)}, nil
}

func (answer) Close() error { return nil }

func Example() {
	c, err := topology.New(topology.Config{
		Name:  "app",
		Seeds: []topology.Endpoint{{Host: "10.0.0.1", Port: 5432}, {Host: "10.0.0.2", Port: 5432}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	release := c.Attach(twoServers{})
	defer release()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	writer, s, err := c.Pick(ctx, topology.WantWriter, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(writer.ID, "in epoch", s.Epoch)

	// A connection broke: go on only with an instance that has proven itself since.
	ticket := c.Suspect(writer.ID, errors.New("connection reset"))
	writer, s, err = c.Pick(ctx, topology.WantWriter, ticket)
	fmt.Println(writer.ID, "in epoch", s.Epoch, err)
	// Output:
	// 10.0.0.2:5432 in epoch 1
	// 10.0.0.2:5432 in epoch 1 <nil>
}
