"""psycopg2: libpq's simple protocol, as most of Python uses it."""
import select
import sys
import threading

import psycopg2
import psycopg2.extras
import psycopg2.pool

if sys.argv[1] == "work":
    conn = psycopg2.connect("")
    with conn, conn.cursor() as c:
        c.execute("create table psycopg2_t (id serial primary key, v text, doc jsonb)")
        psycopg2.extras.execute_values(c, "insert into psycopg2_t (v, doc) values %s", [(str(i), '{"n": %d}' % i) for i in range(100)])
    try:
        with conn, conn.cursor() as c:
            c.execute("delete from psycopg2_t")
            c.execute("select 1/0")
        raise SystemExit("no error")
    except psycopg2.errors.DivisionByZero:
        pass
    with conn, conn.cursor("server_side") as c:
        c.itersize = 7
        c.execute("select id from psycopg2_t order by id")
        assert [r[0] for r in c] == list(range(1, 101))
    with conn, conn.cursor() as c:
        c.execute("set application_name to 'mine'")
        c.execute("update psycopg2_t set v = 'new' where id = %s returning doc", (5,))
        assert c.fetchone() == ({"n": 4},)
    with conn, conn.cursor() as c:
        c.execute("show application_name")
        assert c.fetchone() == ("mine",)
    conn.set_session(isolation_level="SERIALIZABLE", readonly=True)
    with conn, conn.cursor() as c:
        c.execute("show transaction_isolation")
        assert c.fetchone() == ("serializable",)
    conn.reset()
    with conn, conn.cursor() as c:
        with open(sys.argv[2] + "/copied", "w+") as f:
            c.copy_expert("copy psycopg2_t (id) to stdout", f)
            f.seek(0)
            assert len(f.readlines()) == 100
    with conn:
        lob = conn.lobject(0, "wb")
        lob.write(b"large")
        oid = lob.oid
        lob.close()
    with conn:
        assert conn.lobject(oid, "rb").read() == b"large"
        conn.lobject(oid).unlink()
    pool = psycopg2.pool.ThreadedConnectionPool(4, 8, "")

    def use(n):
        c = pool.getconn()
        with c, c.cursor() as cur:
            cur.execute("select count(*) from psycopg2_t where id <> %s", (-n,))
            assert cur.fetchone() == (100,)
        pool.putconn(c)

    threads = [threading.Thread(target=use, args=(i,)) for i in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    pool.closeall()
    with conn, conn.cursor() as c:
        c.execute("drop table psycopg2_t")
    conn.close()
else:
    a, b = psycopg2.connect(""), psycopg2.connect("")
    a.autocommit = b.autocommit = True
    a.cursor().execute("listen psycopg2")
    b.cursor().execute("notify psycopg2, 'hello'")
    while not a.notifies:
        assert select.select([a], [], [], 30)[0], "no notification"
        a.poll()
    assert a.notifies[0].payload == "hello"
    a.cursor().execute("unlisten *")
    threading.Timer(1, b.cancel).start()
    try:
        b.cursor().execute("select pg_sleep(600)")
        raise SystemExit("not canceled")
    except psycopg2.errors.QueryCanceled:
        pass
