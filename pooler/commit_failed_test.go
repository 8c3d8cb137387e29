package pooler_test

import "testing"

func TestACommitThatFailsSetsNothing(t *testing.T) {
	_, addr := start(t, shared, shared.DSN(), nil)
	a, b := connect(t, url(shared, addr)), connect(t, url(shared, addr))
	exec(t, a, "create table unkept (v int unique deferrable initially deferred)")
	for _, commit := range []string{"simple", "extended"} {
		exec(t, a, "begin")
		exec(t, a, "set application_name = 'unkept'")
		exec(t, a, "insert into unkept values (1), (1)")
		var err error
		if commit == "simple" {
			err = a.PgConn().Exec(testContext(t), "commit").Close()
		} else {
			err = a.PgConn().ExecParams(testContext(t), "commit", nil, nil, nil, nil).Read().Err
		}
		if code(err) != "23505" || a.PgConn().TxStatus() != 'I' {
			t.Fatalf("%s: commit was told %v, status %c", commit, err, a.PgConn().TxStatus())
		}
		value(t, b, "select 'used by another session'")
		if name := value(t, a, "select current_setting('application_name')"); name == "unkept" {
			t.Errorf("%s: application_name is %q after its SET was rolled back", commit, name)
		}
	}
	exec(t, a, "drop table unkept")
}
