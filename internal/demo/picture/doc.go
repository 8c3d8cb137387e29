// Package picture draws what package demo has measured.
//
//	if err := picture.Save("out/fairlead-demo.svg", result); err != nil {
//		return err
//	}
//
// One column for each failure, in it one panel for each contestant, all with the same time axis: writes per second, under
// them the slowest response, in bins of demo.BinWidth, and where operations failed.
package picture
