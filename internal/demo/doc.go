// Package demo runs one load against one cluster through several drivers at the same time, takes the writer away, and
// counts what became of every operation.
//
//	result, err := demo.Run(ctx, demo.Config{}, demo.Discard)
//	if err != nil {
//		return err
//	}
//	return demo.WriteReport(os.Stdout, result)
//
// The contestants share the cluster, so that each of them sees the same failure at the same moment. The load is paced far
// below what the machine can do: a contestant that hangs does not make room for the others, nor does one that is fast
// crowd them out.
package demo
