"""psycopg 3: the extended protocol, statements prepared on their own, pipelines, binary COPY."""
import sys
import threading

import psycopg

if sys.argv[1] == "work":
    with psycopg.connect("") as conn:
        conn.execute("create table psycopg3_t (id int primary key, v text)")
        conn.cursor().executemany("insert into psycopg3_t values (%s, %s)", [(i, str(i)) for i in range(100)])
    conns = [psycopg.connect("", prepare_threshold=0) for _ in range(6)]
    for _ in range(20):
        for c in conns:
            with c.transaction():
                assert c.execute("select v from psycopg3_t where id = %s", (7,)).fetchone() == ("7",)
    for i, c in enumerate(conns):
        c.autocommit = True
        for n in range(150):  # more than it keeps prepared
            assert c.execute("select %%s::int + %d" % n, (i,)).fetchone() == (i + n,)
    with conns[0].pipeline():
        cursors = [conns[0].execute("select %s::int", (i,)) for i in range(50)]
        assert [c.fetchone()[0] for c in cursors] == list(range(50))
    try:
        with conns[1].transaction():
            conns[1].execute("delete from psycopg3_t")
            with conns[1].transaction():
                conns[1].execute("insert into psycopg3_t values (1, 'twice')")
                conns[1].execute("insert into psycopg3_t values (1, 'twice')")
        raise SystemExit("no error")
    except psycopg.errors.UniqueViolation:
        pass
    assert conns[2].execute("select count(*) from psycopg3_t").fetchone() == (100,)
    with conns[3].cursor() as c, c.copy("copy psycopg3_t from stdin (format binary)") as copy:
        copy.set_types(["int4", "text"])
        for i in range(100, 20000):
            copy.write_row((i, "copied"))
    with conns[4].cursor() as c, c.copy("copy psycopg3_t to stdout") as copy:
        assert sum(1 for _ in copy.rows()) == 20000
    with conns[5].transaction(), conns[5].cursor(name="server_side") as c:
        c.execute("select id from psycopg3_t order by id")
        assert c.fetchmany(3) == [(0,), (1,), (2,)]
        c.scroll(1000)
        assert c.fetchone() == (1003,)
    with psycopg.connect("", options="-c statement_timeout=12345") as c:
        assert c.execute("show statement_timeout").fetchone() == ("12345ms",)
    conns[0].execute("drop table psycopg3_t")
    for c in conns:
        c.close()
else:
    with psycopg.connect("", autocommit=True) as a, psycopg.connect("", autocommit=True) as b:
        a.execute("listen psycopg3")
        b.execute("select pg_notify('psycopg3', 'hello')")
        assert next(a.notifies()).payload == "hello"
        a.execute("unlisten psycopg3")
        threading.Timer(1, b.cancel).start()
        try:
            b.execute("select pg_sleep(600)")
            raise SystemExit("not canceled")
        except psycopg.errors.QueryCanceled:
            pass
