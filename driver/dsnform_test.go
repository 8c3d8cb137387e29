package driver

import (
	"fmt"
	"strings"
	"testing"
)

func TestWhatIsNoDSNIsRefusedByName(t *testing.T) {
	quietEnv(t)
	url := "postgres://u:" + secret + "@h/d?sslmode=disable"
	rest := strings.TrimPrefix(url, "postgres")
	for dsn, want := range map[string]string{
		`"` + url + `"`:                                   "quotation mark",
		`'` + url + `'`:                                   "quotation mark",
		` "` + url + `"` + "\n":                           "quotation mark",
		"“" + url + "”":                                   "quotation mark",
		`"host=h password=` + secret + `"`:                "quotation mark",
		`'host=h password=` + secret + `'`:                "quotation mark",
		"jdbc:postgresql" + rest:                          "take jdbc: away",
		"jdbc:postgresql://h/d?user=u&password=" + secret: "take jdbc: away",
		"POSTGRES" + rest:                                 "write postgres://",
		"Postgresql" + rest:                               "write postgresql://",
		"postgresql+asyncpg" + rest:                       "+asyncpg",
		"postgres+psycopg2" + rest:                        "write postgres://",
		"PostgreSQL+Psycopg" + rest:                       "write postgresql://",
		"pgx5" + rest:                                     "its scheme is pgx5",
		"mysql" + rest:                                    "its scheme is mysql",
		"https" + rest:                                    "its scheme is https",
		"postgres:/u:" + secret + "@h/d?a=b":              "two slashes",
		"postgres:u:" + secret + "@h/d?a=b":               "two slashes",
		"//u:" + secret + "@h/d?a=b":                      "no scheme",
		"u:" + secret + "@h/d?sslmode=disable":            "neither",
		secret + "@h/d?sslmode=disable":                   "other characters",
		secret + "/d?sslmode=disable":                     "other characters",
		"DATABASE_URL=" + url:                             "without the name of a variable",
		`DATABASE_URL="` + url + `"`:                      "without the name of a variable",
		"export DATABASE_URL=" + url:                      "not of the form",
		"psql " + url:                                     "not of the form",
		"host=" + url:                                     "host is a URL",
		"host=h dbname=" + url:                            "database is a URL",
		"dsn: " + url:                                     "neither",
		"-d " + url:                                       "not of the form",
		"Host=h;Port=5432;Username=u;Password=" + secret + ";Database=d":         "did you mean host",
		"Server=h;Database=d;User Id=u;Password=" + secret:                       "did you mean host",
		"host=h,port=5432,password=" + secret:                                    "host",
		"host=h user=u pwd=" + secret:                                            "did you mean password",
		"host=h Password=" + secret:                                              "did you mean password",
		"host=h pass" + secret + "=x":                                            "other characters",
		"host=h;password=" + secret:                                              "host",
		`host="h" password=` + secret:                                            "host",
		"host=h 'password=" + secret + "'=x":                                     "other characters",
		"postgres://u:p@" + secret + "@h/d":                                      "%40",
		"postgres://u@h/d?pass%20word" + secret + "=x":                           "other characters",
		"postgres://u@h/d?\"sslmode" + secret + "\"=x":                           "other characters",
		"postgres://u@h/d?a%3Db" + secret + "=x":                                 "other characters",
		"postgres://u@h/d?amp;password=" + secret:                                "other characters",
		"host=h passwrod=" + secret:                                              "did you mean password",
		"postgres://u@h/d?pasword=" + secret:                                     "did you mean password",
		"jdbc:postgresql:d?password=" + secret:                                   "take jdbc: away",
		"r2dbc:postgresql" + rest:                                                "neither",
		"DATABASE_URL = \"" + url + "\"":                                         "without the name of a variable",
		"postgres://" + url:                                                      "twice",
		"host=h password='a b'c'd" + secret + "'=x":                              "other characters",
		"{\"host\": \"h\", \"password\": \"" + secret + "\", \"opts\": \"a=b\"}": "not of the form",
	} {
		_, err := ParseConfig(dsn)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", dsn, err, want)
		}
		if text := fmt.Sprintf("%v %+v", err, err); strings.Contains(text, secret) {
			t.Errorf("%s: the error has the password in it: %s", dsn, text)
		}
	}
}

func TestBlanksAroundADSNAreNoPartOfIt(t *testing.T) {
	quietEnv(t)
	for _, dsn := range []string{"postgres://u:pw@h:5433/d?continuity=read", "host=h port=5433 user=u password=pw dbname=d continuity=read"} {
		for _, around := range [][2]string{{"", "\n"}, {"", "\r\n"}, {" ", " "}, {"\t\n", "\n\n"}, {"\ufeff", ""}, {"\u00a0", ""}, {"\u200b", "\n"}} {
			c, err := ParseConfig(around[0] + dsn + around[1])
			if err != nil {
				t.Errorf("%q: %v", around, err)
				continue
			}
			if c.Conn.Host != "h" || c.Conn.Port != 5433 || c.Conn.User != "u" || c.Conn.Password != "pw" || c.Conn.Database != "d" || c.Continuity != ContinuityRead || len(c.Conn.RuntimeParams) != 0 {
				t.Errorf("%q: %s %v", around, c.FormatDSN(), c.Conn.RuntimeParams)
			}
		}
	}
	if c := mustParse(t, `host=h password=a\ `); c.Conn.Password != "a " {
		t.Errorf("%q: a blank behind a backslash belongs to the value", c.Conn.Password)
	}
}

func TestKeywordsThatServersHaveAreTaken(t *testing.T) {
	quietEnv(t)
	for _, dsn := range []string{
		"host=h application_name=postgres://x", "host=h app.url=postgres://u@h/d", "host=h options='-c geqo=off'", "host=/var/run/postgresql",
		"host=@abstract", "host=::1", "host=fe80::1%eth0", "postgres://[::1]:5432/d", "host=h search_path='a, b'", "host=h _pq_.x=1", "", "  ",
		"postgres://u:a%40b%2Fc@h/d", "postgres:///d?host=/tmp&user=u", "host=a.example.com,b.example.com port=1,2", "host=h_1",
	} {
		if _, err := ParseConfig(dsn); err != nil {
			t.Errorf("%q: %v", dsn, err)
		}
	}
}
