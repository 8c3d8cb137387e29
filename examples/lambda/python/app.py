"""Places orders. The database is at 127.0.0.1:5432: that is the extension, which knows the rest."""

import psycopg

# Made in Init, and used by all invocations. The extension keeps this connection alive when the server's is lost.
connection = psycopg.connect("host=127.0.0.1 user=app dbname=app sslmode=disable", autocommit=True)


def handler(event, context):
    with connection.transaction():
        row = connection.execute(
            "insert into orders (item, quantity) values (%s, %s) returning id",
            (event["item"], event["quantity"]),
        ).fetchone()
    return {"id": row[0]}
