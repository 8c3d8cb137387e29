// Package boundaries cuts the connection of a session at every message of a piece of work, one run for each message in each
// direction, and compares what the caller was told with what is in the tables.
//
//	result, err := boundaries.Run(ctx, boundaries.Config{Mode: driver.ResolutionMarker})
//	if err != nil {
//		return err
//	}
//	boundaries.WriteTable(file, result)
//
// The servers are real, and stay up: what is lost is the connection. (What becomes of work whose server dies is the matter of
// package torture, which cannot choose the message.) Each run has a client session of its own, on which the work runs once
// without a cut before, so that its messages are known.
package boundaries
