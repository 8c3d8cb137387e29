"""Works through psycopg 3, as ../language.go says: transactions in both of its ways, statements prepared and not, COPY."""
import queue
import re
import sys
import threading
from urllib.parse import parse_qs, urlencode

import psycopg

LEVELS = {level.name.replace("_", " ").lower(): level for level in psycopg.IsolationLevel}


class Session:
    def __init__(self):
        self.conn = self.transaction = None

    def open(self, r):
        # Its threshold is low: a statement of no arguments is prepared when it has come three times.
        self.conn = psycopg.connect(host=r["host"], port=r["port"], user=r["user"], dbname=r["db"], sslmode="disable",
                                    autocommit=True, prepare_threshold=3)

    def close(self, r):
        self.conn.close()

    def begin(self, r):
        self.conn.isolation_level = LEVELS[r["sql"]]
        if r["named"]:
            transaction = self.conn.transaction()
            transaction.__enter__()
            self.transaction = transaction
        else:
            self.conn.autocommit = False  # what comes next begins one

    def commit(self, r):
        self.end(self.conn.commit, None)

    def rollback(self, r):
        self.end(self.conn.rollback, psycopg.Rollback)

    def end(self, how, err):
        if self.transaction:
            t, self.transaction = self.transaction, None
            t.__exit__(err, err and err(), None)
            return
        try:
            how()
        finally:
            # An error can be the transaction's end, too.
            if self.conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
                self.conn.autocommit = True

    def exec(self, r):
        for args in r["rows"] or [None]:
            self.execute(r, args)

    prepared = exec

    def query(self, r):
        return [("row", str(row[0])) for row in self.execute(r, r["rows"][0] if r["rows"] else None)]

    def execute(self, r, args):
        if args is None:
            return self.conn.execute(r["sql"])
        sql = re.sub(r"\$(\d+)", r"%(p\1)s", r["sql"].replace("%", "%%"))
        return self.conn.execute(sql, {f"p{i}": v for i, v in enumerate(args, 1)}, prepare=r["named"])

    def copy(self, r):
        with self.conn.cursor() as cursor, cursor.copy(r["sql"]) as copy:
            copy.write(r["data"])


def told(err):
    diag = getattr(err, "diag", None)
    if diag is None or diag.sqlstate is None:
        return f"- {type(err).__name__}: {err}"
    return f"{diag.sqlstate} {diag.message_primary}; {diag.message_detail or ''}"


def work(name, requests):
    session = Session()
    while True:
        r = requests.get()
        try:
            answer = getattr(session, r["do"])(r) or []
        except Exception as err:
            answer = [("error", told(err))]
        status = session.conn.info.transaction_status.name.lower() if session.conn else "unknown"
        line = urlencode([("session", name), ("status", status)] + answer) + "\n"
        with out:
            sys.stdout.write(line)
            sys.stdout.flush()
        if r["do"] == "close":
            return


out = threading.Lock()
sessions = {}
for line in sys.stdin:
    form = parse_qs(line.strip(), keep_blank_values=True)
    request = {key: values[0] for key, values in form.items()}
    request["named"] = request.get("named") == "1"
    request["rows"] = [[int(v) for v in row.split(",")] for row in form.get("row", [])]
    name = request["session"]
    if request["do"] == "open":
        sessions[name] = queue.SimpleQueue()
        threading.Thread(target=work, args=(name, sessions[name]), daemon=True).start()
    sessions[name].put(request)
