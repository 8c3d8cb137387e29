// Places orders. The database is at 127.0.0.1:5432: that is the extension, which knows the rest.
import pg from "pg";

const pool = new pg.Pool({ host: "127.0.0.1", user: "app", database: "app", max: 2, idleTimeoutMillis: 0 });

export async function handler(event) {
  const { rows } = await pool.query("insert into orders (item, quantity) values ($1, $2) returning id", [event.item, event.quantity]);
  return { id: rows[0].id };
}
