"""asyncpg: binary both ways, errors at prepare, introspection of types, pool with reset, COPY, cursors."""
import asyncio, datetime, decimal, sys, uuid
import asyncpg

async def main(url):
    db = await asyncpg.connect(url)
    await db.execute("drop table if exists apg")
    await db.execute("""create table apg (id int8 primary key, t text, n numeric(10,2), b bool, f float8, d date,
                        at timestamptz, u uuid, j jsonb, y bytea)""")
    at = datetime.datetime(2024, 2, 29, 10, 11, 12, 345678, tzinfo=datetime.timezone.utc)
    row = (1, "é", decimal.Decimal("12.50"), True, 0.1, datetime.date(2024, 2, 29), at, uuid.UUID(int=5),
           '{"a": 1}', b"\x00\xff")
    await db.execute("insert into apg values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)", *row)
    assert tuple(await db.fetchrow("select * from apg where id = $1", 1)) == row
    assert await db.fetchval("select $1::int4[]", [1, None, 3]) == [1, None, 3]
    for sql, error in [("select nosuch", asyncpg.UndefinedColumnError), ("selec", asyncpg.PostgresSyntaxError),
                       ("select 1/0", asyncpg.DivisionByZeroError)]:
        try:
            await asyncio.wait_for(db.fetch(sql), 20)
            raise SystemExit(f"{sql} did not fail")
        except error:
            pass
    try:
        await db.execute("insert into apg (id) values (1)")
        raise SystemExit("a duplicate was taken")
    except asyncpg.UniqueViolationError as error:
        assert (error.table_name, error.constraint_name) == ("apg", "apg_pkey"), error
    await db.executemany("insert into apg (id, t) values ($1, $2)", [(n, str(n)) for n in range(10, 20)])
    async with db.transaction():
        assert [r[0] async for r in db.cursor("select id from apg order by id", prefetch=3)] == [1, *range(10, 20)]
    try:
        await db.fetch("select count(*) from generate_series(1, 1000000000)", timeout=0.5)
        raise SystemExit("the statement was not cancelled")
    except asyncio.TimeoutError:
        pass
    assert await db.fetchval("select 1") == 1
    await db.close()
    async with asyncpg.create_pool(url, min_size=1, max_size=2) as pool:
        for _ in range(3):
            assert await pool.fetchval("select count(*) from apg") == 11
        await pool.execute("drop table apg")

asyncio.run(main(sys.argv[1]))
print("ok", asyncpg.__version__)
