"""A runtime of one page, and a function that works with psycopg: WORKERS processes, as Managed Instances run Python."""

import json
import os
import time
import urllib.request

import psycopg

API = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime/invocation/"
connection = None


def handler(event):
    global connection
    if event.get("op") == "crash":
        os._exit(7)
    if event.get("op") == "compute":
        time.sleep(event["seconds"])
        return {}
    if connection is None or connection.closed:
        connection = psycopg.connect(os.environ["TEST_DSN"])
    if event.get("op") == "sleep":
        with connection.transaction():
            connection.execute("insert into deeds (id) values (%s)", (event["id"],))
            connection.execute("select pg_sleep(%s)", (event["seconds"],))
        return {}
    with connection.transaction():
        connection.execute("insert into deeds (id) values (%s)", (event["id"],))
        row = connection.execute("select count(*), max(pg_backend_pid()) from deeds", prepare=True).fetchone()
    return {"count": row[0], "pid": row[1]}


def serve():
    while True:
        with urllib.request.urlopen(API + "next") as request:
            invocation, event = request.headers["Lambda-Runtime-Aws-Request-Id"], json.load(request)
        try:
            kind, answer = "response", handler(event)
        except Exception as e:
            kind, answer = "error", {"errorType": type(e).__name__, "errorMessage": str(e)}
        urllib.request.urlopen(urllib.request.Request(API + invocation + "/" + kind, json.dumps(answer).encode())).close()


for _ in range(int(os.environ.get("WORKERS", "1")) - 1):
    if os.fork() == 0:
        break
serve()
