"""SQLAlchemy 2: Core, ORM and inspect, over psycopg 3."""
import sys
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

engine = sa.create_engine(sys.argv[1].replace("postgres://", "postgresql+psycopg://"))
class Base(DeclarativeBase):
    pass
class Thing(Base):
    __tablename__ = "sa_thing"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(sa.String(20))
    note: Mapped[str | None]

Base.metadata.drop_all(engine)
Base.metadata.create_all(engine)
Base.metadata.create_all(engine)
with Session(engine) as session:
    session.add(Thing(id=1, name="one"))
    session.commit()
with Session(engine) as session:
    session.add(Thing(id=2, name="two", note="n"))
    session.commit()
    thing = session.get(Thing, 1)
    thing.note = "changed"
    session.commit()
    names = session.scalars(sa.select(Thing.name).where(Thing.id.in_([1, 2])).order_by(Thing.id)).all()
    assert names == ["one", "two"], names
    assert session.scalar(sa.select(sa.func.count()).select_from(Thing)) == 2
    session.delete(session.get(Thing, 2))
    session.commit()
inspector = sa.inspect(engine)
assert "sa_thing" in inspector.get_table_names()
assert inspector.has_table("sa_thing") and not inspector.has_table("nosuch")
columns = {c["name"]: (str(c["type"]), c["nullable"]) for c in inspector.get_columns("sa_thing")}
assert columns == {"id": ("INTEGER", False), "name": ("VARCHAR(20)", False), "note": ("VARCHAR", True)} or \
    columns["note"][0] in ("TEXT", "VARCHAR"), columns
assert inspector.get_pk_constraint("sa_thing")["constrained_columns"] == ["id"]
assert inspector.get_foreign_keys("sa_thing") == [] and inspector.get_indexes("sa_thing") == []
assert inspector.get_unique_constraints("sa_thing") == [] and inspector.get_check_constraints("sa_thing") == []
assert "public" in inspector.get_schema_names()
assert inspector.get_view_names() == [] and inspector.get_table_comment("sa_thing")["text"] is None
meta = sa.MetaData()
meta.reflect(engine, only=["sa_thing"])
assert [c.name for c in meta.tables["sa_thing"].columns] == ["id", "name", "note"]
Base.metadata.drop_all(engine)
print("ok", sa.__version__)
