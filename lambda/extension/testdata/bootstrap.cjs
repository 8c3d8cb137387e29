// A runtime of one page, and a function that works with node-postgres.
const { Pool } = require("pg");

const api = `http://${process.env.AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime/invocation/`;
const pool = new Pool({ connectionString: process.env.TEST_DSN, max: 2 });
pool.on("error", (err) => console.log("idle client:", err.message));

async function handler(event) {
  if (event.op === "crash") process.exit(7);
  const client = await pool.connect();
  try {
    await client.query("begin");
    await client.query("insert into deeds (id) values ($1)", [event.id]);
    if (event.op === "sleep") await client.query("select pg_sleep($1)", [event.seconds]);
    const { rows } = await client.query({ name: "count", text: "select count(*)::int, max(pg_backend_pid()) as pid from deeds" });
    await client.query("commit");
    return rows[0];
  } finally {
    client.release();
  }
}

(async () => {
  for (;;) {
    const request = await fetch(api + "next");
    const invocation = request.headers.get("lambda-runtime-aws-request-id");
    let kind = "response", answer;
    try {
      answer = await handler(await request.json());
    } catch (e) {
      kind = "error";
      answer = { errorType: e.code || e.name, errorMessage: e.message };
    }
    await fetch(api + invocation + "/" + kind, { method: "POST", body: JSON.stringify(answer) });
  }
})();
