"""The tables of a small shop: most kinds of columns, keys and foreign keys that there are."""

import datetime as dt
import enum
import uuid
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    CHAR,
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    Enum,
    ForeignKey,
    Identity,
    Integer,
    Numeric,
    String,
    Table,
    Text,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

SKUS = [f"sku-{number:03}-" for number in range(20)]
CUSTOMERS = 12
TAGS = ("new", "sale", "red", "blue")
SILENT = ("page_view",)
"""Tables that are not captured."""


class Tier(enum.Enum):
    """The database keeps the names."""

    bronze = "B"
    silver = "S"
    gold = "G"


class Base(DeclarativeBase):
    """All tables."""


class Customer(Base):
    """`version` is minded by SQLAlchemy: of two that write at once one fails."""

    __tablename__ = "customer"
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    email: Mapped[str] = mapped_column(String(80), unique=True)
    name: Mapped[str] = mapped_column(Text)
    tier: Mapped[Tier] = mapped_column(Enum(Tier, name="tier"), default=Tier.bronze)
    settings: Mapped[Any] = mapped_column(JSONB, server_default="{}")
    credit: Mapped[Decimal] = mapped_column(Numeric(12, 2), server_default="0")
    created: Mapped[dt.datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    seen: Mapped[dt.datetime | None] = mapped_column(DateTime)
    version: Mapped[int] = mapped_column(Integer, nullable=False)
    orders: Mapped[list["Order"]] = relationship(
        back_populates="customer", cascade="all, delete", passive_deletes=True
    )
    notes: Mapped[list["Note"]] = relationship(passive_deletes="all")
    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 - as SQLAlchemy's documents


product_tag = Table(
    "product_tag",
    Base.metadata,
    Column(
        "product_sku",
        ForeignKey("product.sku", ondelete="CASCADE", onupdate="CASCADE"),
        primary_key=True,
    ),
    Column("tag_id", ForeignKey("tag.id", ondelete="CASCADE"), primary_key=True),
)


class Product(Base):
    """Its key changes; its shelf is padded by the database."""

    __tablename__ = "product"
    sku: Mapped[str] = mapped_column(CHAR(8), primary_key=True)
    shelf: Mapped[str | None] = mapped_column(CHAR(6))
    title: Mapped[str] = mapped_column(Text)
    price: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    weight: Mapped[float | None]
    data: Mapped[Any] = mapped_column(JSONB(none_as_null=False), nullable=True)
    changed: Mapped[dt.datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now(), onupdate=func.now()
    )
    version: Mapped[int] = mapped_column(Integer, default=1, server_default="1")
    tags: Mapped[list["Tag"]] = relationship(secondary=product_tag, passive_deletes=True)


class Tag(Base):
    """Many to many."""

    __tablename__ = "tag"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(String(40), unique=True)


class Order(Base):
    """Its name is a reserved word."""

    __tablename__ = "order"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customer.id", ondelete="CASCADE"))
    state: Mapped[str] = mapped_column(String(10), default="open")
    total: Mapped[Decimal] = mapped_column(Numeric(14, 4), server_default="0")
    placed: Mapped[dt.datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.clock_timestamp()
    )
    version: Mapped[int] = mapped_column(Integer, default=1, server_default="1")
    customer: Mapped[Customer] = relationship(back_populates="orders")
    lines: Mapped[list["Line"]] = relationship(cascade="all, delete-orphan", passive_deletes=True)


class Line(Base):
    """A key of two columns, and a column that the database computes."""

    __tablename__ = "order_line"
    order_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("order.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    product_sku: Mapped[str] = mapped_column(ForeignKey("product.sku", onupdate="CASCADE"))
    quantity: Mapped[int]
    price: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    amount: Mapped[Decimal] = mapped_column(
        Numeric(14, 2), Computed("quantity * price", persisted=True)
    )


class Stock(Base):
    """Written by upserts alone."""

    __tablename__ = "stock"
    product_sku: Mapped[str] = mapped_column(
        ForeignKey("product.sku", ondelete="CASCADE", onupdate="CASCADE"), primary_key=True
    )
    count: Mapped[int] = mapped_column(CheckConstraint("count >= 0"))
    counted: Mapped[dt.datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    version: Mapped[int] = mapped_column(Integer, default=1, server_default="1")


class Category(Base):
    """A tree: what is below goes with what is above."""

    __tablename__ = "category"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    above_id: Mapped[int | None] = mapped_column(ForeignKey("category.id", ondelete="CASCADE"))


class Note(Base):
    """What stays when its customer goes."""

    __tablename__ = "note"
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    customer_id: Mapped[int | None] = mapped_column(ForeignKey("customer.id", ondelete="SET NULL"))
    text: Mapped[str] = mapped_column(Text)
    is_read: Mapped[bool] = mapped_column(default=False)


class PageView(Base):
    """Not captured: raw SQL may write it."""

    __tablename__ = "page_view"
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    path: Mapped[str] = mapped_column(Text)


CAPTURED = tuple(sorted(name for name in Base.metadata.tables if name not in SILENT))


def seed(session: Session) -> None:
    """What a shop begins with."""
    session.add_all(Tag(name=name) for name in TAGS)
    for number, sku in enumerate(SKUS):
        data: Any = ({"size": number}, [1.5, None, "é"], None, {"$odd": {"a": 10**20}})[number % 4]
        session.add(
            Product(
                sku=sku, shelf="A1" if number % 2 else None, title=f"Thing {number}",
                price=Decimal(number) + Decimal("0.50"),
                weight=None if number % 3 else number / 7, data=data,
            )
        )  # fmt: skip
    session.flush()
    session.add_all(Stock(product_sku=sku, count=1_000) for sku in SKUS)
    for number in range(CUSTOMERS):
        session.add(new_customer(f"first-{number}"))
    root = Category(name="all")
    session.add(root)
    session.flush()
    session.add_all(Category(name=f"shelf {number}", above_id=root.id) for number in range(3))


def new_customer(name: str) -> Customer:
    """One with notes."""
    customer = Customer(email=f"{name}@example.com", name=name, seen=dt.datetime(2026, 1, 31, 12))
    customer.notes = [Note(text="hello"), Note(text="again")]
    return customer
