"""pg8000: extended protocol in text."""
import sys, urllib.parse
import pg8000.native, pg8000.exceptions

url = urllib.parse.urlparse(sys.argv[1])
db = pg8000.native.Connection(url.username, host=url.hostname, port=url.port, database=url.path[1:])
db.run("drop table if exists pg8")
db.run("create table pg8 (id int4 primary key, t text, j jsonb, a float8)")
db.run("insert into pg8 values (:id, :t, :j, :a)", id=1, t="é", j='{"a": 1}', a=1.5)
assert db.run("select * from pg8 where id = :id", id=1) == [[1, "é", {"a": 1}, 1.5]]
assert [c["name"] for c in db.columns] == ["id", "t", "j", "a"]
try:
    db.run("insert into pg8 (id) values (1)")
    raise SystemExit("a duplicate was taken")
except pg8000.exceptions.DatabaseError as error:
    assert error.args[0]["C"] == "23505" and error.args[0]["t"] == "pg8", error
db.run("begin")
db.run("update pg8 set t = 'x' where id = 1")
db.run("rollback")
assert db.run("select t from pg8") == [["é"]]
db.run("drop table pg8")
print("ok", pg8000.__version__)
