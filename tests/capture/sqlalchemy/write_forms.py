"""The ways to write through SQLAlchemy, each as a small function over a session."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from tests.capture.sqlalchemy.models import PRODUCTS

Form = Callable[[Session, Any], None]

FORMS: dict[str, Form] = {}
POSTGRESQL_ONLY: set[str] = set()
SQLITE_ONLY: set[str] = set()


def form(name: str, only: set[str] | None = None) -> Callable[[Form], Form]:
    """Enter a function into the list under the name that the table shows."""

    def enter(function: Form) -> Form:
        FORMS[name] = function
        if only is not None:
            only.add(name)
        return function

    return enter


def upsert(session: Session, table: Any) -> Any:
    """The dialect's own insert."""
    name = session.get_bind().dialect.name
    return (postgresql if name == "postgresql" else sqlite).insert(table)


# Flushes


@form("`session.add`, flush")
def add(session: Session, m: Any) -> None:
    session.add_all([m.Author(name="new", books=[m.Book(title="first")]), m.Tag(name="t")])


@form("`session.add` of many (keys from the database)")
def add_many(session: Session, m: Any) -> None:
    session.add_all([m.Author(name=f"many {n}", score=n) for n in range(30)])


@form("change of an attribute, flush")
def change(session: Session, m: Any) -> None:
    for author in session.scalars(select(m.Author).where(m.Author.id < 4)):
        author.score += 10


@form("`session.delete`, cascade by the ORM")
def remove(session: Session, m: Any) -> None:
    session.delete(session.get(m.Author, 2))


@form("relationship moved, orphan deleted")
def move(session: Session, m: Any) -> None:
    one, two = session.get(m.Author, 1), session.get(m.Author, 2)
    two.books.append(one.books[0])
    session.flush()
    two.books.pop()


@form("association table through `secondary`")
def secondary(session: Session, m: Any) -> None:
    book = session.get(m.Book, 1)
    book.tags = [session.get(m.Tag, 2), session.get(m.Tag, 3)]


@form("joined-table inheritance, flush")
def joined(session: Session, m: Any) -> None:
    session.get(m.Manager, 1).budget = 11
    session.get(m.Manager, 1).name = "Ann"
    session.add(m.Manager(name="Max", budget=3))


@form("single-table inheritance, flush")
def single(session: Session, m: Any) -> None:
    session.get(m.Engineer, 2).language = "ada"
    session.add(m.Engineer(name="Eve", language="b"))


@form("versioned row (`version_id_col`)")
def versioned(session: Session, m: Any) -> None:
    session.get(m.Document, 1).body = "two"


@form("server default, computed column, SQL expression")
def computed(session: Session, m: Any) -> None:
    session.add(m.Product(price=5, upper=func.upper("abc")))
    session.get(m.Product, PRODUCTS[0]).price = 9


@form("change of a primary key, flush")
def key_change(session: Session, m: Any) -> None:
    session.get(m.Setting, "s1").name = "renamed"


# Bulk methods of the session


@form("`bulk_save_objects`")
def bulk_save(session: Session, m: Any) -> None:
    session.bulk_save_objects([m.Author(name=f"bulk {n}") for n in range(3)])


@form("`bulk_insert_mappings`")
def bulk_insert(session: Session, m: Any) -> None:
    session.bulk_insert_mappings(m.Author, [{"name": f"map {n}"} for n in range(3)])


@form("`bulk_update_mappings`")
def bulk_update(session: Session, m: Any) -> None:
    session.bulk_update_mappings(m.Author, [{"id": n, "score": 50} for n in (1, 2, 3)])


# ORM-enabled statements


@form("`session.execute(insert(Class), [dicts])`")
def orm_insert_many(session: Session, m: Any) -> None:
    session.execute(insert(m.Author), [{"name": f"exec {n}"} for n in range(3)])


@form("`insert(Class).returning(...)`, many")
def orm_insert_returning(session: Session, m: Any) -> None:
    rows = [{"name": f"ret {n}"} for n in range(3)]
    names = session.execute(insert(m.Author).returning(m.Author.name), rows).scalars().all()
    assert sorted(names) == ["ret 0", "ret 1", "ret 2"]
    found = session.scalars(insert(m.Author).returning(m.Author), [{"name": "r1"}, {"name": "r2"}])
    assert sorted(each.name for each in found) == ["r1", "r2"]


@form("`session.execute(insert(Subclass), [dicts])`")
def orm_insert_joined(session: Session, m: Any) -> None:
    rows = [{"name": f"m {n}", "budget": n} for n in range(3)]
    session.execute(insert(m.Manager), rows)


@form("`update(Class).where(...)`")
def orm_update(session: Session, m: Any) -> None:
    done = session.execute(update(m.Author).where(m.Author.score > 2).values(score=99))
    assert done.rowcount == 3


@form("`update(Class)` of a subclass in one table")
def orm_update_single(session: Session, m: Any) -> None:
    session.execute(update(m.Engineer).values(language="z"))


@form("`update(Class).returning(...)`, expression")
def orm_update_returning(session: Session, m: Any) -> None:
    statement = update(m.Author).where(m.Author.name.in_(["author 1", "author 2"]))
    given = statement.values({m.Author.balance: m.Author.balance * 2}).returning(m.Author.id)
    assert sorted(session.scalars(given)) == [1, 2]


@form("`session.execute(update(Class), [dicts])` by key")
def orm_update_many(session: Session, m: Any) -> None:
    session.execute(update(m.Author), [{"id": n, "score": 70 + n} for n in (1, 2)])


@form("`session.execute(update(Subclass), [dicts])` by key")
def orm_update_joined(session: Session, m: Any) -> None:
    session.execute(update(m.Manager), [{"id": 1, "name": "Abe", "budget": 77}])


@form("`delete(Class).where(...)`")
def orm_delete(session: Session, m: Any) -> None:
    session.execute(delete(m.Review).where(m.Review.stars < 3))


# Core


@form("Core `insert`, one row")
def core_insert(session: Session, m: Any) -> None:
    done = session.connection().execute(insert(m.Author.__table__).values(name="core"))
    assert done.inserted_primary_key[0] is not None


@form("Core `insert`, executemany")
def core_insert_many(session: Session, m: Any) -> None:
    rows = [{"name": f"core {n}"} for n in range(4)]
    done = session.connection().execute(insert(m.Author.__table__), rows)
    assert done.rowcount in (4, -1) and not done.returns_rows


@form("Core `insert().values([...])`")
def core_insert_values(session: Session, m: Any) -> None:
    rows = [{"name": f"values {n}"} for n in range(4)]
    session.connection().execute(insert(m.Author.__table__).values(rows))


@form("Core `insert().from_select(...)`")
def core_insert_select(session: Session, m: Any) -> None:
    author = m.Author.__table__
    source = select(literal("copy ") + author.c.name, author.c.score).where(author.c.score > 3)
    session.connection().execute(insert(author).from_select(["name", "score"], source))


@form("Core `insert` with keys made by Python, executemany")
def core_insert_uuid(session: Session, m: Any) -> None:
    session.connection().execute(insert(m.Product.__table__), [{"price": 1}, {"price": 2}])


@form("Core `update().where(...)`")
def core_update(session: Session, m: Any) -> None:
    author = m.Author.__table__
    statement = author.update().where(author.c.score.between(2, 4)).values(note="changed")
    assert session.connection().execute(statement).rowcount == 3


@form("Core `update`, executemany by key")
def core_update_many(session: Session, m: Any) -> None:
    author = m.Author.__table__
    statement = author.update().where(author.c.id == bindparam("b_id"))
    rows = [{"b_id": n, "score": n * 7} for n in (1, 2, 3)]
    session.connection().execute(statement, rows)


@form("Core `update`, executemany by another column")
def core_update_many_by_name(session: Session, m: Any) -> None:
    author = m.Author.__table__
    statement = author.update().where(author.c.name == bindparam("b_name"))
    rows = [{"b_name": f"author {n}", "score": n * 7} for n in (1, 2)]
    session.connection().execute(statement, rows)


@form("Core `update` ... FROM another table")
def core_update_from(session: Session, m: Any) -> None:
    author, stage = m.Author.__table__, m.Stage.__table__
    statement = author.update().where(author.c.name == stage.c.name).values(score=stage.c.score)
    session.connection().execute(statement)


@form("Core `update` with a subquery, CASE, and a CTE that reads")
def core_update_subquery(session: Session, m: Any) -> None:
    author, book = m.Author.__table__, m.Book.__table__
    busy = select(book.c.author_id).group_by(book.c.author_id).having(func.count() > 1).cte("busy")
    value = case((author.c.score > 1, 1), else_=2)
    statement = author.update().where(author.c.id.in_(select(busy.c.author_id)))
    has_book = exists().where(book.c.author_id == author.c.id)
    session.connection().execute(statement.where(has_book).values(score=value))


@form("Core `update` of a primary key by an expression")
def core_update_key(session: Session, m: Any) -> None:
    setting = m.Setting.__table__
    session.connection().execute(setting.update().values(name=setting.c.name + "x"))


@form("Core `delete`")
def core_delete(session: Session, m: Any) -> None:
    review = m.Review.__table__
    session.connection().execute(delete(review).where(review.c.stars > 3))


@form("Core `delete`, executemany")
def core_delete_many(session: Session, m: Any) -> None:
    review = m.Review.__table__
    statement = delete(review).where(review.c.id == bindparam("b_id"))
    session.connection().execute(statement, [{"b_id": 1}, {"b_id": 2}, {"b_id": 99}])


@form("database's own ON DELETE CASCADE and SET NULL")
def cascade(session: Session, m: Any) -> None:
    author = m.Author.__table__
    session.connection().execute(delete(author).where(author.c.score < 3))


@form("database's own ON UPDATE CASCADE")
def cascade_update(session: Session, m: Any) -> None:
    setting = m.Setting.__table__
    statement = setting.update().where(setting.c.name == "s2").values(name="t2")
    session.connection().execute(statement)


# Upserts


@form("ON CONFLICT DO UPDATE, executemany")
def upsert_many(session: Session, m: Any) -> None:
    statement = upsert(session, m.Setting.__table__)
    statement = statement.on_conflict_do_update(
        index_elements=["name"], set_={"value": statement.excluded.value}
    )
    rows = [{"name": "s1", "value": 8}, {"name": "fresh", "value": 9}, {"name": "s1", "value": 10}]
    session.connection().execute(statement, rows)


@form("ON CONFLICT DO UPDATE by a unique column, RETURNING")
def upsert_unique(session: Session, m: Any) -> None:
    statement = upsert(session, m.Author).values(
        [{"name": "author 1", "score": 5}, {"name": "other", "score": 6}]
    )
    statement = statement.on_conflict_do_update(
        index_elements=[m.Author.name], set_={"score": statement.excluded.score + 1}
    )
    assert len(session.execute(statement.returning(m.Author.id)).all()) == 2


@form("ON CONFLICT DO NOTHING")
def upsert_nothing(session: Session, m: Any) -> None:
    table = m.Author.__table__
    statement = upsert(session, table).on_conflict_do_nothing()
    connection = session.connection()
    connection.execute(statement, [{"name": "author 1"}, {"name": "fresh 1"}, {"name": "fresh 2"}])
    connection.execute(statement.values(name="author 2"))
    assert connection.execute(statement.values(name="fresh 3")).rowcount in (1, -1)


@form("INSERT ... SELECT ... ON CONFLICT DO UPDATE")
def upsert_select(session: Session, m: Any) -> None:
    table, stage = m.Author.__table__, m.Stage.__table__
    source = select(stage.c.name, stage.c.score).where(stage.c.id > 0)
    statement = upsert(session, table).from_select(["name", "score"], source)
    session.connection().execute(
        statement.on_conflict_do_update(
            index_elements=["name"], set_={"score": statement.excluded.score}
        )
    )


@form("INSERT OR REPLACE (SQLite)", SQLITE_ONLY)
def replace(session: Session, m: Any) -> None:
    statement = insert(m.Setting.__table__).prefix_with("OR REPLACE")
    session.connection().execute(
        statement, [{"name": "s1", "value": 50}, {"name": "n", "value": 1}]
    )


# Transactions


@form("savepoint rolled back, then another write")
def savepoint(session: Session, m: Any) -> None:
    nested = session.begin_nested()
    session.add(m.Tag(name="never"))
    session.execute(update(m.Tag).values(name="never"))
    session.flush()
    nested.rollback()
    with session.begin_nested():
        session.add(m.Tag(name="kept"))


@form("flush that fails halfway in a savepoint")
def failing(session: Session, m: Any) -> None:
    from sqlalchemy.exc import IntegrityError

    author = m.Author.__table__
    try:
        with session.begin_nested():
            rows = [{"id": 50, "name": "fine"}, {"id": 51, "name": "author 1"}]
            session.connection().execute(insert(author), rows)
    except IntegrityError:
        session.add(m.Tag(name="after the failure"))


@form("a change that changes nothing")
def no_change(session: Session, m: Any) -> None:
    session.execute(update(m.Author).values(score=m.Author.score))
    session.get(m.Tag, 1).name = "tag 1"


# What hooks do not follow


@form("write inside WITH (CTE)")
def cte_write(session: Session, m: Any) -> None:
    if session.get_bind().dialect.name == "sqlite":
        # SQLite has none: the same as text is all that there is.
        session.execute(text("UPDATE tag SET name = 'cte'"))
        return
    tag = m.Tag.__table__
    changed = tag.update().values(name="cte").returning(tag.c.id).cte("changed")
    session.connection().execute(select(changed.c.id)).all()


@form("`text()`")
def text_sql(session: Session, m: Any) -> None:
    session.execute(text("UPDATE author SET score = score + :n WHERE id < 3"), {"n": 5})


@form("`exec_driver_sql`")
def driver_sql(session: Session, m: Any) -> None:
    session.connection().exec_driver_sql('/* x */ DELETE FROM "review" WHERE id = 1')


@form("TRUNCATE in text", POSTGRESQL_ONLY)
def truncate(session: Session, m: Any) -> None:
    session.execute(text("TRUNCATE TABLE review"))


@form("through a view", POSTGRESQL_ONLY)
def through_view(session: Session, m: Any) -> None:
    from sqlalchemy import column, table

    view = table("author_view", column("id"), column("score"))
    session.connection().execute(update(view).values(score=1))
