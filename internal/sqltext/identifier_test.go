package sqltext

import "testing"

func TestIdentifier(t *testing.T) {
	for _, c := range []struct {
		sql  string
		i    int
		want string
		ok   bool
	}{
		{`deallocate "Q ""r"`, -1, `Q "r`, true},
		{"DEALLOCATE PREPARE Abc ; -- x", -1, "abc", true},
		{`prepare "A b"(int) as select 1`, 1, "A b", true},
		{"prepare/**/p as select 1", 1, "p", true},
		{"unlisten *", -1, "", false},
		{"rollback", -2, "", false},
		{"", -1, "", false},
		{"savepoint s", 2, "", false},
		{`savepoint "open`, -1, "", false},
	} {
		if got, ok := Identifier(c.sql, c.i, Options{}); got != c.want || ok != c.ok {
			t.Errorf("%s, %d: %q, %v", c.sql, c.i, got, ok)
		}
	}
}
