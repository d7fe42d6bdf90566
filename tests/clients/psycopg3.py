"""psycopg 3: parameters, prepared statements, pipeline, COPY, types, errors, cursors, transactions."""
import datetime, decimal, sys, uuid
import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

url = sys.argv[1]
with psycopg.connect(url, autocommit=True) as db:
    db.execute("drop table if exists py3")
    db.execute("""create table py3 (id int8 primary key, t text, n numeric(10,2), b bool, f float8, d date,
                  at timestamptz, u uuid, j jsonb, y bytea)""")
    at = datetime.datetime(2024, 2, 29, 10, 11, 12, 345678, tzinfo=datetime.timezone.utc)
    row = (1, "é'\"", decimal.Decimal("12.50"), True, 0.1, datetime.date(2024, 2, 29), at, uuid.UUID(int=5),
           Jsonb({"a": [1, None]}), b"\x00\xff")
    insert = "insert into py3 values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
    db.execute(insert, row)
    for binary in (False, True):
        got = db.cursor(binary=binary).execute("select * from py3 where id = %s", (1,)).fetchone()
        assert got[:8] == row[:8] and got[8] == {"a": [1, None]} and got[9] == row[9], (binary, got)
    for n in range(8):  # server-side prepared from the sixth on
        assert db.execute("select t from py3 where id = %s", (1,)).fetchone()[0] == "é'\""
    assert db.cursor(row_factory=dict_row).execute("select 1 as a, 'x' as b").fetchone() == {"a": 1, "b": "x"}
    with db.pipeline():
        cursors = [db.execute("select %s::int8 + 1", (n,)) for n in range(10)]
        assert [c.fetchone()[0] for c in cursors] == list(range(1, 11))
    with db.cursor().copy("copy py3 (id, t) from stdin") as copy:
        for n in range(100, 200):
            copy.write_row((n, f"row {n}"))
    with db.cursor().copy("copy (select id, t from py3 where id >= 198 order by id) to stdout") as copy:
        assert [r for r in copy.rows()] == [("198", "row 198"), ("199", "row 199")]
    assert db.execute("select count(*) from py3").fetchone() == (101,)
    for sql, error in [("select nosuch", psycopg.errors.UndefinedColumn), ("selec", psycopg.errors.SyntaxError),
                       ("select 1/0", psycopg.errors.DivisionByZero),
                       ("select * from nosuch", psycopg.errors.UndefinedTable)]:
        try:
            db.execute(sql)
            raise SystemExit(f"{sql} did not fail")
        except error:
            pass
    try:
        db.execute("insert into py3 (id) values (1)")
        raise SystemExit("a duplicate was taken")
    except psycopg.errors.UniqueViolation as error:
        diag = error.diag
        assert (diag.table_name, diag.constraint_name, diag.schema_name) == ("py3", "py3_pkey", "public"), diag
    try:
        db.execute("select %s::int4", ("x",))
        raise SystemExit("x is no number")
    except psycopg.errors.InvalidTextRepresentation:
        pass
with psycopg.connect(url) as db:
    db.execute("update py3 set t = %s where id = %s", ("changed", 1))
    db.rollback()
    assert db.execute("select t from py3 where id = 1").fetchone() == ("é'\"",)
    db.execute("update py3 set t = %s where id = %s", ("changed", 1))
    db.commit()
    try:
        with db.transaction():
            db.execute("select 1/0")
    except psycopg.errors.DivisionByZero:
        pass
    assert db.execute("select t from py3 where id = 1").fetchone() == ("changed",)
with psycopg.connect(url, autocommit=True) as db:
    db.execute("drop table py3")
print("ok", psycopg.__version__)
