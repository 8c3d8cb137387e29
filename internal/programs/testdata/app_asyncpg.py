"""asyncpg: binary, prepares everything, and resets its connections when they go back to its pool."""
import asyncio
import os
import sys

import asyncpg


async def work():
    async with asyncpg.create_pool(min_size=4, max_size=8) as pool:
        await pool.execute("create type asyncpg_mood as enum ('sad', 'happy')")
        await pool.execute("create table asyncpg_t (id serial primary key, v text, m asyncpg_mood, doc jsonb, at timestamptz default now())")
        await pool.executemany("insert into asyncpg_t (v, m, doc) values ($1, $2, $3)", [(str(i), "happy", "{}") for i in range(50)])

        async def use(n):
            for _ in range(20):
                async with pool.acquire() as conn, conn.transaction():
                    row = await conn.fetchrow("select v, m from asyncpg_t where id = $1", n + 1)
                    assert row["v"] == str(n) and row["m"] == "happy", row

        await asyncio.gather(*(use(n) for n in range(16)))
        async with pool.acquire() as conn:
            try:
                async with conn.transaction(isolation="serializable"):
                    await conn.execute("delete from asyncpg_t")
                    await conn.fetchval("select 1/0")
                sys.exit("no error")
            except asyncpg.DivisionByZeroError:
                pass
            async with conn.transaction():
                assert len([r async for r in conn.cursor("select id from asyncpg_t", prefetch=7)]) == 50
            statement = await conn.prepare("select $1::int[]")
            assert await statement.fetchval([1, 2]) == [1, 2]
            await conn.execute("set application_name to 'mine'")
            assert await conn.fetchval("show application_name") == "mine"
            await conn.copy_records_to_table("asyncpg_t", records=[(f"c{i}",) for i in range(1000)], columns=["v"])
        async with pool.acquire() as conn:
            assert await conn.fetchval("show application_name") != "mine"
            try:
                await conn.fetchval("select pg_sleep(600)", timeout=1)
                sys.exit("no timeout")
            except asyncio.TimeoutError:
                pass
            assert await conn.fetchval("select 1") == 1
        await pool.execute("drop table asyncpg_t; drop type asyncpg_mood")


async def listen():
    a, b = await asyncpg.connect(), await asyncpg.connect()
    heard = asyncio.get_running_loop().create_future()
    await a.add_listener("asyncpg", lambda conn, pid, channel, payload: heard.set_result(payload))
    await b.execute("notify asyncpg, 'hello'")
    assert await asyncio.wait_for(heard, 30) == "hello"
    await a.reset()
    await a.close()
    await b.close()


asyncio.run({"work": work, "listen": listen}[sys.argv[1]]())
