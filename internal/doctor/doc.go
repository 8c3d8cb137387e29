// Package doctor looks at everything that stands between a process and its cluster, step by step, and says for what is wrong
// how to mend it.
//
//	cfg, err := driver.ParseConfig(dsn)
//	if err != nil {
//		return err
//	}
//	report := doctor.Examine(ctx, cfg)
//	report.Print(os.Stdout)
//
// A step that needs an earlier one that has failed is skipped. Nothing is changed on the server.
package doctor
