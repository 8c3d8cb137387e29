// Works through node-postgres, as ../language.go says: simple queries, queries with values, named ones.
const { Client } = require('pg')
const readline = require('readline')

class Session {
  async open (r) {
    this.names = new Map()
    this.client = new Client({ host: r.get('host'), port: Number(r.get('port')), user: r.get('user'), database: r.get('db'), ssl: false })
    this.client.on('error', () => {}) // the next query says it, too
    this.client.connection.on('readyForQuery', m => { this.status = m.status === 'I' ? 'idle' : m.status })
    await this.client.connect()
  }

  async close () { await this.client.end() }
  async begin (r) { await this.run('begin isolation level ' + r.get('sql')) }
  async commit () { await this.run('commit') }
  async rollback () { await this.run('rollback') }

  async exec (r) {
    const rows = r.getAll('row')
    if (rows.length === 0) await this.run(r.get('sql'))
    for (const row of rows) await this.run(r.get('sql'), row.split(',').map(Number), r.get('named') === '1')
  }

  async prepared (r) {
    r.set('named', '1')
    await this.exec(r)
  }

  async query (r) {
    const row = r.get('row')
    const got = row === null ? await this.run(r.get('sql')) : await this.run(r.get('sql'), row.split(',').map(Number), r.get('named') === '1')
    return got.rows.map(v => ['row', String(v[0])])
  }

  // A name is for one text.
  async run (text, values, named) {
    const q = { text, values, rowMode: 'array' }
    if (named) {
      if (!this.names.has(text)) this.names.set(text, 'statement' + this.names.size)
      q.name = this.names.get(text)
    }
    return this.client.query(q)
  }
}

// told has a code only if it is the server's: the socket's errors have one, too.
const told = err => err.code && err.severity ? `${err.code} ${err.message}; ${err.detail || ''}` : `- ${err}`

async function work (session, r, before) {
  await before
  let answer
  try {
    answer = await session[r.get('do')](r)
  } catch (err) {
    answer = [['error', told(err)]]
  }
  const pairs = [['session', r.get('session')], ['status', session.status]].concat(answer || [])
  process.stdout.write(new URLSearchParams(pairs) + '\n')
}

const sessions = new Map()
readline.createInterface({ input: process.stdin }).on('line', line => {
  const r = new URLSearchParams(line)
  const name = r.get('session')
  if (r.get('do') === 'open') sessions.set(name, { session: new Session(), last: null })
  const s = sessions.get(name)
  if (r.get('do') === 'close') sessions.delete(name)
  s.last = work(s.session, r, s.last)
}).on('close', () => process.exit(0))
