"""A small business application's tables, with what makes capture hard in them."""

import uuid
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, ClassVar

from sqlalchemy import (
    Column,
    Computed,
    ForeignKey,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    Uuid,
    func,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


def make_models(versioned: bool = False) -> Any:
    """The classes, in a registry of their own. `versioned`: as SQLAlchemy-Continuum wants them."""

    class Base(DeclarativeBase):
        metadata = MetaData()

    class Kept(Base):
        __abstract__ = True
        if versioned:
            __versioned__: ClassVar[dict[str, Any]] = {}

    book_tag = Table(
        "book_tag",
        Base.metadata,
        Column("book_id", ForeignKey("book.id", ondelete="CASCADE"), primary_key=True),
        Column("tag_id", ForeignKey("tag.id"), primary_key=True),
    )

    class Author(Kept):
        __tablename__ = "author"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str] = mapped_column(String(50), unique=True)
        score: Mapped[int] = mapped_column(default=0)
        balance: Mapped[Decimal | None] = mapped_column(Numeric(10, 2))
        note: Mapped[str] = mapped_column(String(50), server_default=text("'new'"))
        books: Mapped[list["Book"]] = relationship(
            cascade="all, delete-orphan", back_populates="author"
        )

    class Book(Kept):
        __tablename__ = "book"
        id: Mapped[int] = mapped_column(primary_key=True)
        author_id: Mapped[int] = mapped_column(ForeignKey("author.id", ondelete="CASCADE"))
        title: Mapped[str] = mapped_column("book title", String(50))
        author: Mapped[Author] = relationship(back_populates="books")
        tags: Mapped[list["Tag"]] = relationship(secondary=book_tag)

    class Review(Kept):
        __tablename__ = "review"
        id: Mapped[int] = mapped_column(primary_key=True)
        book_id: Mapped[int | None] = mapped_column(ForeignKey("book.id", ondelete="SET NULL"))
        stars: Mapped[int]

    class Tag(Kept):
        __tablename__ = "tag"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str] = mapped_column(String(50))

    class Employee(Kept):
        __tablename__ = "employee"
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str] = mapped_column(String(20))
        name: Mapped[str] = mapped_column(String(50))
        __mapper_args__: ClassVar[dict[str, Any]] = {
            "polymorphic_on": "kind",
            "polymorphic_identity": "employee",
        }

    class Manager(Employee):
        __tablename__ = "manager"
        id: Mapped[int] = mapped_column(ForeignKey("employee.id"), primary_key=True)
        budget: Mapped[int]
        __mapper_args__: ClassVar[dict[str, Any]] = {"polymorphic_identity": "manager"}

    class Engineer(Employee):
        language: Mapped[str | None] = mapped_column(String(20))
        __mapper_args__: ClassVar[dict[str, Any]] = {"polymorphic_identity": "engineer"}

    class Document(Kept):
        __tablename__ = "document"
        id: Mapped[int] = mapped_column(primary_key=True)
        body: Mapped[str] = mapped_column(String(50))
        version: Mapped[int] = mapped_column()
        __mapper_args__: ClassVar[dict[str, Any]] = {"version_id_col": version}

    class Setting(Kept):
        __tablename__ = "setting"
        name: Mapped[str] = mapped_column(String(50), primary_key=True)
        value: Mapped[int]

    class SettingUse(Kept):
        __tablename__ = "setting_use"
        setting_name: Mapped[str] = mapped_column(
            ForeignKey("setting.name", onupdate="CASCADE", ondelete="CASCADE"), primary_key=True
        )
        place: Mapped[str] = mapped_column(String(50), primary_key=True)

    class Product(Kept):
        if versioned:
            # It would make its own copy a computed column too, and then fill it.
            __versioned__: ClassVar[dict[str, Any]] = {"exclude": ["total"]}
        __tablename__ = "product"
        id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, default=uuid.uuid4)
        price: Mapped[int]
        quantity: Mapped[int] = mapped_column(Integer, server_default=text("7"))
        total: Mapped[int] = mapped_column(Integer, Computed("price * quantity", persisted=True))
        upper: Mapped[str | None] = mapped_column(String(50))

    class Stage(Base):
        """What an import has laid out; not captured."""

        __tablename__ = "stage"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str] = mapped_column(String(50))
        score: Mapped[int]

    found = {
        name: value
        for name, value in locals().items()
        if isinstance(value, type) and name not in ("Kept",)
    }
    return SimpleNamespace(**found, book_tag=book_tag, func=func)


PRODUCTS = [uuid.UUID(int=number) for number in (1, 2, 3)]


def seed(connection: Any, m: Any) -> None:
    """The same few rows in every table, whatever was there."""
    metadata = m.Base.metadata
    for table in reversed(metadata.sorted_tables):
        connection.execute(table.delete())

    def put(table: Any, *rows: dict[str, Any]) -> None:
        connection.execute(table.insert(), list(rows))

    put(
        m.Author.__table__,
        *(
            {"id": n, "name": f"author {n}", "score": n, "balance": Decimal(n), "note": "seed"}
            for n in range(1, 6)
        ),
    )
    put(
        m.Book.__table__,
        *({"id": n, "author_id": 1 + n % 3, "book title": f"book {n}"} for n in range(1, 7)),
    )
    put(m.Review.__table__, *({"id": n, "book_id": n, "stars": n} for n in range(1, 6)))
    put(m.Tag.__table__, *({"id": n, "name": f"tag {n}"} for n in range(1, 4)))
    put(m.book_tag, {"book_id": 1, "tag_id": 1}, {"book_id": 2, "tag_id": 1})
    put(m.Employee.__table__, {"id": 1, "kind": "manager", "name": "Ada"})
    put(m.Employee.__table__, {"id": 2, "kind": "engineer", "name": "Bob", "language": "c"})
    put(m.Employee.__table__, {"id": 3, "kind": "employee", "name": "Cy"})
    put(m.Manager.__table__, {"id": 1, "budget": 10})
    put(m.Document.__table__, {"id": 1, "body": "one", "version": 1})
    put(m.Setting.__table__, *({"name": f"s{n}", "value": n} for n in range(1, 4)))
    put(m.SettingUse.__table__, {"setting_name": "s1", "place": "here"})
    put(m.SettingUse.__table__, {"setting_name": "s2", "place": "there"})
    put(m.Product.__table__, *({"id": key, "price": 2} for key in PRODUCTS))
    put(m.Stage.__table__, *({"id": n, "name": f"author {n}", "score": 90 + n} for n in (4, 5, 6)))
    if connection.dialect.name == "postgresql":
        for table in ("author", "book", "review", "tag", "employee", "document", "stage"):
            connection.execute(text(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), 100)"))
