"""One thing through time: the row at a point, who gave each field its value, every version."""

from typing import Any

from audit.errors import NotFound
from audit.event.values import fields_to_json
from audit.ledger import Ledger
from audit.replay.fold import Row
from audit.replay.history import Version
from audit.replay.points import Cut
from audit.replay.refs import Ref, parse_ref
from audit.web.answer import VALID_AT, Answer, Asked, Parameter, Screen, Table

VERSIONS = 100
"""Versions on one page."""
MAX_SLIDER = 500
"""Versions that the slider reaches: the newest ones."""
MAX_OFFSET = 100_000_000
_COLUMNS = (
    *("log", "index", "recorded_time", "valid_time", "op", "actor", "reason", "transaction_id"),
    *("event_id", "source", "changed", "row", "flags"),
)


def _answer(asked: Asked) -> Answer:
    ref = parse_ref(asked.needed("ref"))
    ledger = asked.ledger
    versions = ledger.history(ref)
    if asked.wants_table:
        rows = ([one.to_dict().get(name) for name in _COLUMNS] for one in versions)
        return Answer(str(ref), {}, {}, table=Table(_COLUMNS, _texts(rows)))
    shown = [one for one in versions if asked.cut.holds((one.log, one.index))]
    skip = asked.number("skip", 0, MAX_OFFSET) if asked.text("skip") else 0
    newest = list(reversed(shown))[skip : skip + VERSIONS]
    row, blamed = _row(ledger, ref, asked.cut, asked.text("valid_at"))
    data = {
        "ref": str(ref),
        "row": None if row is None else fields_to_json(row),
        "blame": None if blamed is None else blamed.to_dict(),
        "versions": [one.to_dict() for one in newest],
        "versions_in_all": len(shown),
        "later_versions": len(versions) - len(shown),
    }
    view = {
        "the_ref": ref,
        "cells": _cells(row, blamed),
        "gone": None if blamed is None else blamed.gone,
        "newest": newest,
        "slider": _slider(asked, versions),
        "place": _place(asked, versions, shown),
        "older": asked.here(skip=str(skip + VERSIONS)) if skip + VERSIONS < len(shown) else None,
        "skip": skip,
        "first_after": versions[len(shown)] if len(shown) < len(versions) else None,
    }
    point = asked.text("as_of")
    command = ("audit", "blame" if ref.is_row else "history", str(ref))
    return Answer(str(ref), data, view, command + (("--as-of", point) if point else ()))


def _row(ledger: Ledger, ref: Ref, cut: Cut, valid_at: str | None) -> tuple[Row | None, Any]:
    """The row at the cut, and who gave its fields their values; nothing of what is no row."""
    if not ref.is_row:
        return None, None
    try:
        blamed = ledger.blame(ref, cut, valid_at)
        if blamed.fields:
            # Who is blamed for a field is told with its value: that is the row.
            return {one.field: one.value for one in blamed.fields}, blamed
        return ledger.replay_row(ref, cut, valid_at), blamed
    except NotFound:
        if not ledger.history(ref):
            raise
        return None, None


def _cells(row: Row | None, blamed: Any) -> list[tuple[str, Any, Any]]:
    """(field, value, who said it) by field."""
    if row is None:
        return []
    said = {} if blamed is None else {one.field: one.said for one in blamed.fields}
    return [(name, row[name], said.get(name)) for name in sorted(row)]


def _slider(asked: Asked, versions: list[Version]) -> list[tuple[str, str]]:
    """(address, when) of the newest versions, oldest first."""
    newest = versions[-MAX_SLIDER:]
    return [
        (asked.here(as_of=f"{one.log}/{one.index}", pin=None, skip=None), _when(one))
        for one in newest
    ]


def _when(version: Version) -> str:
    from audit.web.shown import when

    return f"{when(version.recorded_time_us)} {version.op}"


def _place(asked: Asked, versions: list[Version], shown: list[Version]) -> int:
    """Where on the slider the point is: 0 is before its first version."""
    return max(0, len(shown) - max(0, len(versions) - MAX_SLIDER))


def _texts(rows: Any) -> Any:
    import json

    for row in rows:
        yield [json.dumps(c, ensure_ascii=False) if isinstance(c, dict | list) else c for c in row]


ENTITY = Screen(
    path="/entity",
    template="entity.html",
    about="One row or record: as it was, who gave each field its value, and all its versions.",
    answer=_answer,
    parameters=(
        Parameter("ref", "The thing: user/5.", required=True),
        VALID_AT,
        Parameter("skip", "Versions to leave out, newest first."),
    ),
    tabular=True,
)
