"""The shop's web application, and `python -m tests.apps.shop.app SPEC`: its server process.

SPEC is JSON: `database`, `capture` (hooks or triggers), `port`. With hooks, text that would write
a captured table is refused (409); with triggers it is run. A request whose text begins with
`doomed` fails after it has written everything; what begins with `undone` is rolled back to a
savepoint, and the rest of the request is committed.
"""

import json
import random
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any

import uvicorn
from fastapi import Body, Depends, FastAPI, HTTPException
from fastapi.responses import JSONResponse
from sqlalchemy import create_engine, delete, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

import audit
from audit.capture.sqlalchemy import install
from audit.errors import StoreBusy, UnseenWrite
from tests.apps.shop.models import (
    SILENT,
    Base,
    Category,
    Customer,
    Line,
    Note,
    Order,
    PageView,
    Product,
    Stock,
    Tag,
    Tier,
    new_customer,
    product_tag,
)

ACTOR_HEADER = "X-User"
DOOMED, UNDONE = "doomed", "undone"
KEEP_ALIVE_S = 600


class Doomed(Exception):
    """What goes wrong in an application after it has written."""


class Asked:
    """A request's body: `text` says how it is to end; `seed` chooses what it is about."""

    def __init__(self, text: Annotated[str, Body()], seed: Annotated[int, Body()]) -> None:
        """As FastAPI reads it."""
        self.text = text
        self.random = random.Random(seed)

    def end(self) -> None:
        """Fail, if that is asked."""
        if self.text.startswith(DOOMED):
            raise Doomed


Ask = Annotated[Asked, Depends()]


def make_app(database: str, capture: str) -> Any:
    """FastAPI with its two engines."""
    engine = create_engine(database, pool_size=8, max_overflow=8)
    async_engine = create_async_engine(database, pool_size=4)
    if capture == "hooks":
        for each in (engine, async_engine):
            install(each, exclude=SILENT)
    else:
        from audit.capture.database import database_context

        for each in (engine, async_engine):
            database_context.install(each)
    app = FastAPI()
    app.add_middleware(audit.AsgiMiddleware, actor_header=ACTOR_HEADER)

    def session() -> Iterator[Session]:
        with Session(engine) as opened:
            yield opened

    Db = Annotated[Session, Depends(session)]

    def failed(_: object, error: Exception) -> JSONResponse:
        return JSONResponse({"error": type(error).__name__}, 500)

    for kind in (Doomed, SQLAlchemyError, StoreBusy):
        app.add_exception_handler(kind, failed)

    def a_customer(db: Session, asked: Asked) -> Customer:
        found = db.scalars(select(Customer).order_by(Customer.id)).all()
        if not found:
            raise HTTPException(404)
        return asked.random.choice(found)

    def skus(db: Session, asked: Asked, count: int) -> list[str]:
        found = list(db.scalars(select(Product.sku).order_by(Product.sku)))
        return asked.random.sample(found, count)

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"capture": capture}

    @app.post("/customers")
    def make_customer(asked: Ask, db: Db) -> None:
        """A flush of a tree of objects."""
        customer = new_customer(asked.text)
        customer.tier = asked.random.choice(list(Tier))
        customer.settings = asked.random.choice([{}, {"a": [1, 2.5]}, None, "text", 7])
        db.add(customer)
        db.flush()
        db.add(Note(customer_id=customer.id, text=asked.text))
        db.flush()
        asked.end()
        db.commit()

    @app.post("/customers/change")
    def change_customer(asked: Ask, db: Db) -> None:
        """Objects read, changed and flushed; two at once: one fails."""
        customer = a_customer(db, asked)
        customer.name = asked.text
        customer.credit += Decimal("1.25")
        customer.tier = asked.random.choice(list(Tier))
        db.flush()
        customer.settings = {"last": asked.text}
        asked.end()
        db.commit()

    @app.post("/customers/remove")
    def remove_customer(asked: Ask, db: Db) -> None:
        """Cascades in the database: orders and lines go, notes stay without their customer."""
        customer = a_customer(db, asked)
        if asked.random.random() < 0.5:
            db.delete(customer)
        else:
            db.execute(delete(Customer).where(Customer.id == customer.id))
        db.add(new_customer(f"after-{asked.text}"))
        db.flush()
        asked.end()
        db.commit()

    @app.post("/orders")
    def make_order(asked: Ask, db: Db) -> None:
        """Flush, savepoints, an upsert of each product's stock."""
        order = Order(customer_id=a_customer(db, asked).id)
        chosen = sorted(skus(db, asked, 3))
        order.lines = [
            Line(number=at, product_sku=sku, quantity=at + 1, price=Decimal("9.99"))
            for at, sku in enumerate(chosen)
        ]
        db.add(order)
        db.flush()
        order.total = sum((line.amount for line in order.lines), Decimal(0))
        order.version += 1
        try:
            with db.begin_nested():
                order.state = UNDONE
                order.version += 1
                db.add(Note(text=f"{UNDONE} {asked.text}"))
                db.flush()
                with db.begin_nested():
                    db.execute(update(Note).where(Note.customer_id.is_(None)).values(text=UNDONE))
                raise Doomed
        except Doomed:
            pass
        with db.begin_nested():
            take = upsert(Stock).values([{"product_sku": sku, "count": 0} for sku in chosen])
            db.execute(
                take.on_conflict_do_update(
                    index_elements=[Stock.product_sku],
                    set_={"count": Stock.count + 3, "version": Stock.version + 1,
                          "counted": func.now()},
                )
            )  # fmt: skip
        asked.end()
        db.commit()

    @app.post("/orders/close")
    async def close_orders(asked: Ask) -> None:
        """The async engine: an ORM-enabled UPDATE with RETURNING, and an INSERT of many rows."""
        async with AsyncSession(async_engine) as db:
            picked = select(Order.id).where(Order.state == "open").order_by(Order.id).limit(5)
            changed = await db.execute(
                update(Order)
                .where(Order.id.in_(picked.scalar_subquery()))
                .values(state="closed", version=Order.version + 1)
                .returning(Order.id)
            )
            closed = changed.scalars().all()
            await db.execute(insert(Note), [{"text": f"{asked.text} {key}"} for key in closed])
            db.add(Note(text=asked.text))
            await db.flush()
            asked.end()
            await db.commit()

    @app.post("/prices")
    def raise_prices(asked: Ask, db: Db) -> None:
        """A bulk update through Core, and one by many parameters."""
        chosen = sorted(skus(db, asked, 6))
        rows = db.execute(
            select(Product.sku).where(Product.sku.in_(chosen)).order_by(Product.sku)
            .with_for_update()
        )  # fmt: skip
        rows.all()
        db.execute(
            update(Base.metadata.tables["product"])
            .where(Product.sku.in_(chosen))
            .values(price=Product.price + Decimal("0.10"), title=asked.text,
                    version=Product.version + 1, data=None,
                    shelf=asked.random.choice(["B", "C22", "D-long", None]))
        )  # fmt: skip
        note = Note(text="to be read")
        db.add(note)
        db.flush()
        db.execute(
            update(Note), [{"id": note.id, "is_read": True, "text": f"{asked.text} read"}]
        )  # fmt: skip
        asked.end()
        db.commit()

    @app.post("/products/rename")
    def rename_product(asked: Ask, db: Db) -> None:
        """A key changes, and with it the keys and values of all that refer to it."""
        (sku,) = skus(db, asked, 1)
        new = f"{sku[:7]}{asked.random.choice('abc')}"
        renamed: Any = db.execute(
            update(Product)
            .where(Product.sku == sku)
            .values(sku=new, version=Product.version + 1, title=asked.text)
            .execution_options(synchronize_session=False)
        )
        if renamed.rowcount != 1:  # another request was quicker
            raise Doomed
        asked.end()
        db.commit()

    @app.post("/tags")
    def tag_products(asked: Ask, db: Db) -> None:
        """An association table: through the ORM's collections, and through Core."""
        named = select(Product).where(Product.sku == skus(db, asked, 1)[0])
        product = db.scalars(named).one_or_none()
        if product is None:  # another request was quicker and renamed it
            raise Doomed
        tags = db.scalars(select(Tag).order_by(Tag.id)).all()
        product.tags = asked.random.sample(tags, asked.random.randrange(len(tags)))
        product.title = asked.text
        product.version = Product.version + 1
        db.flush()
        other = skus(db, asked, 1)[0]
        db.execute(delete(product_tag).where(product_tag.c.product_sku == other))
        db.execute(
            upsert(product_tag)
            .values([{"product_sku": other, "tag_id": tag.id} for tag in tags[:2]])
            .on_conflict_do_nothing()
        )
        asked.end()
        db.commit()

    @app.post("/categories")
    def grow_categories(asked: Ask, db: Db) -> None:
        """A tree that refers to itself: a branch is made, another cut off with all below it."""
        found = list(db.scalars(select(Category).order_by(Category.id)))
        above = asked.random.choice(found)
        made = Category(name=asked.text, above_id=above.id)
        db.add(made)
        db.flush()
        db.add_all(Category(name=f"{asked.text} {n}", above_id=made.id) for n in range(2))
        if len(found) > 20:
            gone = asked.random.choice([each for each in found[1:] if each is not above])
            db.execute(
                delete(Category).where(Category.id == gone.id)
                .execution_options(synchronize_session=False)
            )  # fmt: skip
        db.flush()
        asked.end()
        db.commit()

    @app.post("/raw")
    def raw(asked: Ask, db: Db) -> None:
        """Text: always allowed on what is not captured, else as the way of capture has it."""
        db.execute(insert(PageView), [{"path": "/a"}, {"path": "/b"}])
        db.execute(text("UPDATE page_view SET path = '/c' WHERE path = '/a'"))
        db.add(Note(text=asked.text))
        db.flush()
        try:
            db.execute(
                text("UPDATE customer SET name = :name, version = version + 1 WHERE id % 3 = :n"),
                {"name": asked.text, "n": asked.random.randrange(3)},
            )
        except UnseenWrite as error:
            db.rollback()
            raise HTTPException(409) from error
        asked.end()
        db.commit()

    @app.post("/silent")
    def silent(asked: Ask, db: Db) -> None:
        """Reads, and writes what is not captured."""
        a_customer(db, asked)
        db.execute(text("INSERT INTO page_view (path) VALUES (:path)"), {"path": asked.text})
        db.commit()

    return app


def main(spec: dict[str, Any]) -> None:
    """Serve until it is killed."""
    app = make_app(spec["database"], spec["capture"])
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=spec["port"],
        log_level="error",
        access_log=False,
        # A client that is held up between two requests finds its connection as it left it.
        timeout_keep_alive=KEEP_ALIVE_S,
    )


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
