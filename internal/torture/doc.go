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
package torture
