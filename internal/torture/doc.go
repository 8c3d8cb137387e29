// Package torture runs operations whose identity is known through the driver while the cluster under them fails in every way
// that rdstest has, and compares what the callers were told with what is in the tables.
//
//	result, err := torture.Run(ctx, torture.Config{Failures: 20})
//	if err != nil {
//		return err
//	}
//	result.Write(os.Stdout)
//
// A run is a row of rounds. In a round workers run operations under failures; then they stop, no session is left on the
// server, and the round is audited. So memory and tables stay small however long a run is.
//
// Some clients go through a pooler in front of the cluster: pgx as it is, and drivers of other languages, each in a program of
// its own (programs) that is asked for one step of an operation after the other.
package torture
