"""psqlODBC, with the settings that it comes with and with server-side prepares off."""
import os
import sys

import pyodbc

if sys.argv[1] != "work":
    sys.exit()
base = "Driver={PostgreSQL Unicode};Server=%(PGHOST)s;Port=%(PGPORT)s;Uid=%(PGUSER)s;Database=%(PGDATABASE)s;" % os.environ
for options in "", "UseServerSidePrepare=0;", "UseDeclareFetch=1;Fetch=7;":
    conns = [pyodbc.connect(base + options) for _ in range(3)]
    conn = conns[0]
    c = conn.cursor()
    c.execute("create table odbc_t (id int primary key, v varchar(100))")
    c.executemany("insert into odbc_t values (?, ?)", [(i, str(i)) for i in range(50)])
    conn.commit()
    for other in conns:
        for n in range(5):
            assert other.execute("select v from odbc_t where id = ?", n).fetchone()[0] == str(n)
        other.commit()
    assert [r.column_name for r in c.columns(table="odbc_t")] == ["id", "v"]
    assert [r.table_name for r in c.tables(table="odbc_t")] == ["odbc_t"]
    try:
        c.execute("insert into odbc_t values (1, 'twice')")
        sys.exit("no error")
    except pyodbc.IntegrityError:
        conn.rollback()
    assert len(c.execute("select * from odbc_t").fetchall()) == 50
    c.execute("drop table odbc_t")
    conn.commit()
    for conn in conns:
        conn.close()
