"""The short ways to a cell's JSON text end where the long one does."""

import math
import random
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from audit.capture.database.captured import Captured
from audit.capture.database.cells import cell, key_of
from audit.capture.database.cells_json import CellTexts
from audit.errors import InvalidInput
from audit.event.normal import key_text
from audit.event.valuejson import dumps

KINDS = (
    *(sa.Integer(), sa.BigInteger(), sa.Text(), sa.String(20), sa.LargeBinary(), sa.Boolean()),
    *(sa.Numeric(10, 2), sa.Numeric(), sa.Numeric(10, 0), sa.Float(), sa.Double(), sa.Date()),
    *(sa.DateTime(), sa.DateTime(timezone=True), sa.Time(), sa.Uuid(), sa.JSON(), sa.Enum("a")),
    sa.types.NullType(),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -5, 2**63 - 1, -(2**63), 1.0, -0.0, 1.5, 1e300, 5e-324),
    *(math.nan, math.inf, -math.inf, "", "plain", 'a "quoted" \\ \x00\x1f\x7f text', "é\U0001f600"),
    *(b"", b"\x00\xff", Decimal("1.50"), Decimal("1.5"), Decimal("0.00"), Decimal("-0.00")),
    *(Decimal("1E+5"), Decimal("1.23E-7"), Decimal("-12.34"), Decimal("NaN"), Decimal("1" * 60)),
    *(date(2026, 1, 2), datetime(2026, 1, 2, 3, 4, 5), datetime(2026, 1, 2, 3, 4, 5, 60)),
    *(datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=5)))),
    *(UUID(int=7), {"$a": [1, 2.0]}, [], timedelta(1)),
)


def texts(kind: Any) -> tuple[CellTexts, sa.Table]:
    names = ("id", "z", "$a", "é")
    columns = [sa.Column(name, kind) for name in names[1:]]
    table = sa.Table("t", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), *columns)
    return CellTexts(Captured(None, "t", "t", ("id",), names), table), table


def long_way(row: list[Any], table: sa.Table) -> str:
    return dumps({c.name: cell(v, c) for c, v in zip(table.columns, row, strict=True)})


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_text_is_that_of_the_long_way(kind: Any) -> None:
    made, table = texts(kind)
    for value in VALUES:
        row = [1, value, None, value]
        try:
            wanted = long_way(row, table)
        except InvalidInput:
            with pytest.raises(InvalidInput):
                made.whole(row)
        else:
            assert made.whole(row) == wanted


def test_what_utf8_cannot_spell_and_what_has_no_room_is_refused() -> None:
    made, _ = texts(sa.Integer())
    for value in ("\ud800", 2**63, -(2**63) - 1):
        with pytest.raises(InvalidInput):
            made.whole([1, value, None, None])


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_what_differs_is_told_and_nothing_else(kind: Any) -> None:
    made, table = texts(kind)
    usable = []
    for value in VALUES:
        try:
            long_way([1, value, None, None], table)
        except InvalidInput:
            continue
        usable.append(value)
    chance = random.Random(5)
    for _ in range(500):
        old, new = ([1, *chance.choices(usable, k=3)] for _ in range(2))
        told = made.changed(old, new)
        names = [
            c.name
            for c, one, other in zip(table.columns, old, new, strict=True)
            if dumps([cell(one, c)]) != dumps([cell(other, c)])
        ]
        if not names:
            assert told is None
            continue
        sides = (
            {c.name: cell(v, c) for c, v in zip(table.columns, row, strict=True) if c.name in names}
            for row in (old, new)
        )
        assert told == tuple(map(dumps, sides))


def test_keys() -> None:
    for kind in (sa.Integer(), sa.Text(), sa.Numeric(10, 2), sa.Uuid(), sa.Boolean(), sa.Date()):
        table = sa.Table("t", sa.MetaData(), sa.Column("id", kind, primary_key=True))
        captured = Captured(None, "t", "t", ("id",), ("id",))
        made = CellTexts(captured, table)
        for value in (
            5,
            "é",
            "plain",
            Decimal("1.5"),
            UUID(int=7),
            True,
            date(2026, 1, 2),
            b"\x01",
        ):
            assert made.key([value]) == key_text(key_of({"id": value}, captured, table))
