// Prisma: its client on the JavaScript driver adapter, whose query compiler is WebAssembly, and "prisma migrate".
//
// Left out is what needs Prisma's native engines, which are no part of its npm packages: the engine that version 7 migrates with. So
// the migration is made and applied by the command of version 6.19, which has one in WebAssembly and runs it on the same adapter.
// Of what that offers, "migrate dev" and "db push" fail without a pooler too, and are left out as well: the one finds its shadow
// database in use, the other reads columns of type "char", which the adapter does not know. Prisma has no LISTEN, and no way to cancel a query but PostgreSQL's own.
const assert = require('assert')
const fs = require('fs')
const path = require('path')
const { execFileSync } = require('child_process')
const { PrismaPg } = require('@prisma/adapter-pg')

const patient = { maxWait: 60000, timeout: 60000 } // milliseconds, on a busy machine
const dir = process.argv[3]
const modules = path.join(path.dirname(require.resolve('prisma/package.json')), '..')
fs.symlinkSync(modules, path.join(dir, 'node_modules')) // Prisma looks for its client beside the schema

// schema is the datamodel: version 6 wants a URL in it, which it does not use, and version 7 none.
const schema = url => `
generator client {
  provider   = "prisma-client-js"
  engineType = "client"
  output     = "generated"
}
datasource db {
  provider = "postgresql"
  ${url}
}
enum Kind {
  DRAFT
  DONE
}
model Author {
  id    Int    @id @default(autoincrement())
  email String @unique
  books Book[]
}
model Book {
  id       Int      @id @default(autoincrement())
  title    String
  kind     Kind     @default(DRAFT)
  price    Decimal?
  pages    BigInt   @default(0)
  doc      Json?
  tags     String[]
  data     Bytes?
  made     DateTime @default(now())
  author   Author   @relation(fields: [authorId], references: [id], onDelete: Cascade)
  authorId Int
  @@unique([authorId, title])
}`

// command is Prisma's, which does not look for native engines where it is told of some. It never runs these.
function command (version, ...args) {
  const engines = { PRISMA_SCHEMA_ENGINE_BINARY: process.execPath, PRISMA_QUERY_ENGINE_LIBRARY: process.execPath }
  return execFileSync(process.execPath, [path.join(modules, version, 'build', 'index.js'), ...args],
    { cwd: dir, encoding: 'utf8', env: { ...process.env, ...engines, CHECKPOINT_DISABLE: '1', NO_COLOR: '1' } })
}

function generate () {
  fs.writeFileSync(path.join(dir, 'seven.prisma'), schema(''))
  command('prisma', 'generate', '--schema', 'seven.prisma')
}

function migrate () {
  fs.writeFileSync(path.join(dir, 'six.prisma'), schema('url = "postgresql://unused"'))
  fs.writeFileSync(path.join(dir, 'prisma.config.js'), `
    const { PrismaPg } = require('@prisma/adapter-pg')
    module.exports = {
      schema: 'six.prisma', migrations: { path: 'migrations' },
      engine: 'js', experimental: { adapter: true }, adapter: async () => new PrismaPg({})
    }`)
  const first = path.join(dir, 'migrations', '1_first')
  fs.mkdirSync(first, { recursive: true })
  fs.writeFileSync(path.join(dir, 'migrations', 'migration_lock.toml'), 'provider = "postgresql"\n')
  const sql = command('prisma6', 'migrate', 'diff', '--from-empty', '--to-schema-datamodel', 'six.prisma', '--script')
  assert.match(sql, /CREATE TABLE "Book"/)
  fs.writeFileSync(path.join(first, 'migration.sql'), sql)
  assert.match(command('prisma6', 'migrate', 'deploy'), /1_first/)
  assert.match(command('prisma6', 'migrate', 'status'), /up to date/)
  fs.unlinkSync(path.join(dir, 'prisma.config.js'))
}

function open (options) {
  const { PrismaClient } = require(path.join(dir, 'generated'))
  return new PrismaClient({ adapter: new PrismaPg({ max: 8, ...options }) })
}

async function work () {
  migrate()
  generate()
  const db = open()
  await Promise.all([...Array(40).keys()].map(async n => {
    const author = await db.author.create({
      data: {
        email: `${n}@example.com`,
        books: {
          create: [
            { title: 'one', pages: 2n ** 40n, price: '12.34', doc: { n }, tags: ['a', 'b'], data: Buffer.from([0, n]) },
            { title: 'two', kind: 'DONE' }
          ]
        }
      },
      include: { books: { orderBy: { title: 'asc' } } }
    })
    assert.deepStrictEqual(author.books.map(b => [b.title, b.kind]), [['one', 'DRAFT'], ['two', 'DONE']])
    const got = await db.book.findUnique({ where: { authorId_title: { authorId: author.id, title: 'one' } }, include: { author: true } })
    assert.strictEqual(got.author.email, `${n}@example.com`)
    assert.deepStrictEqual([got.pages, String(got.price), got.doc, got.tags, [...got.data]], [2n ** 40n, '12.34', { n }, ['a', 'b'], [0, n]])
  }))
  assert.strictEqual(await db.book.count({ where: { doc: { path: ['n'], gte: 20 } } }), 20)
  assert.deepStrictEqual((await db.book.groupBy({ by: ['kind'], _count: true, orderBy: { kind: 'asc' } })).map(g => g._count), [40, 40])
  assert.strictEqual((await db.author.findMany({ where: { books: { some: { price: { gt: 12 } } } }, skip: 35, take: 10, orderBy: { id: 'asc' } })).length, 5)
  await assert.rejects(db.author.create({ data: { email: '1@example.com' } }), { code: 'P2002' })
  await assert.rejects(db.author.update({ where: { email: 'nobody' }, data: { email: 'x' } }), { code: 'P2025' })
  const upsert = () => db.author.upsert({ where: { email: 'once@example.com' }, create: { email: 'once@example.com' }, update: {} })
  assert.strictEqual((await upsert()).id, (await upsert()).id)
  assert.strictEqual((await db.book.createManyAndReturn({ data: [{ title: 'x', authorId: (await upsert()).id }], skipDuplicates: true })).length, 1)
  assert.strictEqual((await db.book.updateMany({ where: { title: 'two' }, data: { pages: { increment: 5 } } })).count, 40)

  // Several statements in one transaction, and one that the application takes part in, of every level.
  const [, , sum] = await db.$transaction([
    db.book.deleteMany({ where: { title: 'x' } }),
    db.author.delete({ where: { email: 'once@example.com' } }),
    db.book.aggregate({ _sum: { pages: true } })
  ])
  assert.strictEqual(sum._sum.pages, 40n * (2n ** 40n + 5n))
  for (const isolationLevel of ['ReadCommitted', 'RepeatableRead', 'Serializable']) {
    const level = await db.$transaction(async tx => {
      await tx.author.create({ data: { email: isolationLevel } })
      return (await tx.$queryRaw`select current_setting('transaction_isolation') as level`)[0].level
    }, { isolationLevel, ...patient })
    assert.strictEqual(level.replace(' ', ''), isolationLevel.toLowerCase())
  }
  await assert.rejects(db.$transaction(async tx => {
    await tx.book.deleteMany()
    throw new Error('taken back')
  }, patient), /taken back/)
  assert.strictEqual(await db.book.count(), 80)
  await Promise.all([...Array(20).keys()].map(() => db.$transaction(async tx => {
    const [{ pages }] = await tx.$queryRaw`select pages from "Book" where id = 1 for update`
    await tx.book.update({ where: { id: 1 }, data: { pages: pages + 1n } })
  }, patient)))
  assert.ok([2n ** 40n + 20n, 25n].includes((await db.book.findUnique({ where: { id: 1 } })).pages))
  assert.strictEqual(await db.$executeRaw`update "Book" set tags = array['c'] where kind = ${'DONE'}::"Kind"`, 40)
  await db.$executeRawUnsafe('drop table "Book", "Author", _prisma_migrations')
  await db.$executeRawUnsafe('drop type "Kind"')
  await db.$disconnect()
}

// listen is about what ends a query: a cancel, a timeout of the server's, and Prisma's own for a transaction.
async function listen () {
  generate()
  const db = open()
  let pid
  const sleeping = assert.rejects(db.$transaction(async tx => {
    pid = (await tx.$queryRaw`select pg_backend_pid() as pid`)[0].pid
    await tx.$queryRaw`select 1 as prisma from pg_sleep(600)`
  }, patient), /canceling statement due to user request/)
  let canceled = false
  while (!canceled) {
    const rows = await db.$queryRaw`select pg_cancel_backend(pid) as ok from pg_stat_activity
      where state = 'active' and query like '%pg_sleep(600)' and pid = ${pid ?? 0}::int`
    canceled = rows.length > 0 && rows[0].ok
  }
  await sleeping

  await assert.rejects(db.$transaction(async tx => {
    await tx.$executeRaw`create table "Late" (n int)`
    await tx.$queryRaw`select 1 as n from pg_sleep(1)`
    await tx.$queryRaw`select 2 as n`
  }, { ...patient, timeout: 500 }), { code: 'P2028' })
  const late = async () => (await db.$queryRaw`select count(*)::int as n from pg_class where relname = 'Late'`)[0].n
  assert.strictEqual(await late(), 0)

  const hasty = open({ statement_timeout: 100 })
  await assert.rejects(hasty.$queryRaw`select 1 as n from pg_sleep(600)`, /canceling statement due to statement timeout/)
  assert.deepStrictEqual(await hasty.$queryRaw`show statement_timeout`, [{ statement_timeout: '100ms' }])
  assert.deepStrictEqual(await db.$queryRaw`show statement_timeout`, [{ statement_timeout: '0' }])
  await hasty.$disconnect()
  await db.$disconnect()
}

({ work, listen })[process.argv[2]]().catch(err => { console.error(err); process.exit(1) })
