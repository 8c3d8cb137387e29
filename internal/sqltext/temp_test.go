package sqltext

import "testing"

func TestMakesTempIsOfWhatOutlivesItsTransaction(t *testing.T) {
	for sql, want := range map[string]bool{
		"create temp table a (b int)":                                      true,
		"create temporary view a as select 1":                              true,
		"create local temp table a as select 1":                            true,
		"create table pg_temp.a (b int)":                                   true,
		"select 1 as b into temp a":                                        true,
		"select * into temporary table a from b":                           true,
		"with b as (select 1) select * into temp a from b":                 true,
		"create temp table a (b int) on commit delete rows":                true,
		"create temp table a as select 'on commit drop' as b":              true,
		"create temp table a as (select 1 /* on commit drop */)":           true,
		"create temp table a (b int) on commit drop":                       false,
		"create temp table a on commit drop as select 1":                   false,
		"with b as (insert into c values (1) returning *) select * from b": false,
		"with b as (select 1) insert into temp select * from b":            false,
		"insert into temp select 1":                                        false,
		"create table a as select temp from b":                             false,
		"select temp from a":                                               false,
		"select * into a from temp":                                        false,
	} {
		if got := MakesTemp(sql, Options{}); got != want {
			t.Errorf("%s: %v", sql, got)
		}
	}
}
