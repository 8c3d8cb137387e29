// node-postgres: its Pool, named statements, LISTEN.
const { Client, Pool } = require('pg')
const assert = require('assert')

async function work () {
  const pool = new Pool({ max: 8 })
  await pool.query('create table node_t (id serial primary key, v text, doc jsonb)')
  await Promise.all([...Array(40).keys()].map(async n => {
    const { rows } = await pool.query('insert into node_t (v, doc) values ($1, $2) returning id', [`v${n}`, { n }])
    const got = await pool.query({ name: 'by-id', text: 'select v, doc from node_t where id = $1', values: [rows[0].id] })
    assert.deepStrictEqual(got.rows, [{ v: `v${n}`, doc: { n } }])
  }))
  const client = await pool.connect()
  await client.query('begin')
  await client.query('delete from node_t')
  await assert.rejects(client.query('select 1/0'), { code: '22012' })
  await assert.rejects(client.query('select 1'), { code: '25P02' })
  await client.query('rollback')
  await client.query("set application_name to 'mine'")
  client.release()
  assert.strictEqual((await pool.query('select count(*)::int as n from node_t')).rows[0].n, 40)
  const several = await pool.query('select 1 as a; select 2 as b')
  assert.deepStrictEqual(several.map(r => r.rows[0]), [{ a: 1 }, { b: 2 }])
  await pool.query('drop table node_t')
  await pool.end()
}

async function listen () {
  const [a, b] = [new Client(), new Client()]
  await Promise.all([a.connect(), b.connect()])
  const heard = new Promise(resolve => a.on('notification', m => resolve(m.payload)))
  await a.query('listen node')
  await b.query("select pg_notify('node', 'hello')")
  assert.strictEqual(await heard, 'hello')
  const pid = (await b.query('select pg_backend_pid() as pid')).rows[0].pid
  const sleeping = assert.rejects(b.query('begin; select pg_sleep(600)'), { code: '57014' })
  let canceled = false
  while (!canceled) {
    const { rows } = await a.query("select pg_cancel_backend(pid) as ok from pg_stat_activity where state = 'active' and query like '%pg_sleep(600)' and pid = $1", [pid])
    canceled = rows.length > 0 && rows[0].ok
  }
  await sleeping
  await a.end()
  await b.end()
}

({ work, listen })[process.argv[2]]().catch(err => { console.error(err); process.exit(1) })
