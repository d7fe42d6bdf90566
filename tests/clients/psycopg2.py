"""psycopg2: literals on the client's side, COPY, transactions, errors."""
import io, sys
import psycopg2, psycopg2.errors

db = psycopg2.connect(sys.argv[1])
db.autocommit = True
c = db.cursor()
c.execute("drop table if exists py2")
c.execute("create table py2 (id int4 primary key, t text, n numeric)")
c.execute("insert into py2 values (%s, %s, %s) returning id", (1, "it's", None))
assert c.fetchone() == (1,)
c.copy_expert("copy py2 from stdin with (format csv)", io.StringIO('2,"a,b",1.5\n3,,\n'))
c.execute("select * from py2 where id = any(%s) order by id", ([1, 2],))
rows = c.fetchall()
assert [r[:2] for r in rows] == [(1, "it's"), (2, "a,b")], rows
assert [d.name for d in c.description] == ["id", "t", "n"]
out = io.StringIO()
c.copy_expert("copy (select id from py2 order by id) to stdout", out)
assert out.getvalue() == "1\n2\n3\n"
try:
    c.execute("insert into py2 (id) values (1)")
    raise SystemExit("a duplicate was taken")
except psycopg2.errors.UniqueViolation as error:
    assert error.diag.constraint_name == "py2_pkey"
db.autocommit = False
c.execute("update py2 set t = 'x' where id = 1")
db.rollback()
c.execute("select t from py2 where id = 1")
assert c.fetchone() == ("it's",)
db.commit()
db.autocommit = True
c.execute("drop table py2")
print("ok", psycopg2.__version__.split()[0])
