"""SQLAlchemy: makes tables, reflects them, works with sessions and nested transactions, on its own pool."""
import sys
import threading

import sqlalchemy as sa
from sqlalchemy.orm import Session, declarative_base, relationship

if sys.argv[1] != "work":
    sys.exit()
engine = sa.create_engine("postgresql+psycopg2://", pool_size=8, pool_pre_ping=True, future=True)
Base = declarative_base()


class Author(Base):
    __tablename__ = "sqlalchemy_authors"
    id = sa.Column(sa.Integer, primary_key=True)
    name = sa.Column(sa.String, unique=True)
    books = relationship("Book", cascade="all, delete-orphan")


class Book(Base):
    __tablename__ = "sqlalchemy_books"
    id = sa.Column(sa.Integer, primary_key=True)
    title = sa.Column(sa.String)
    author_id = sa.Column(sa.ForeignKey("sqlalchemy_authors.id"))


Base.metadata.create_all(engine)
assert {"sqlalchemy_authors", "sqlalchemy_books"} <= set(sa.inspect(engine).get_table_names())
assert sa.inspect(engine).get_foreign_keys("sqlalchemy_books")


def work(n):
    with Session(engine) as s:
        s.add(Author(name=f"a{n}", books=[Book(title=f"b{i}") for i in range(10)]))
        s.commit()
        try:
            with s.begin_nested():
                s.add(Author(name=f"a{n}"))
        except sa.exc.IntegrityError:
            pass
        author = s.execute(sa.select(Author).where(Author.name == f"a{n}")).scalar_one()
        assert len(author.books) == 10
        author.books[0].title = "changed"
        s.commit()
        if n % 2:
            s.delete(author)
            s.commit()


threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
[t.start() for t in threads]
[t.join() for t in threads]
with engine.connect().execution_options(isolation_level="SERIALIZABLE") as conn:
    assert conn.execute(sa.text("show transaction_isolation")).scalar() == "serializable"
with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
    conn.execute(sa.text("vacuum sqlalchemy_books"))
with Session(engine) as s:
    assert s.execute(sa.select(sa.func.count()).select_from(Book).where(Book.title == "changed")).scalar() == 4
Base.metadata.drop_all(engine)
