"""One thing through time: the row at a point, who gave each field its value, every version."""

from typing import Any

from audit.errors import NotFound
from audit.event.values import fields_to_json
from audit.ledger import Ledger
from audit.ledger.said import json_cell
from audit.replay.fold import Row
from audit.replay.history import Version
from audit.replay.refs import Ref, parse_ref
from audit.web.answer import VALID_AT, Answer, Asked, Parameter, Screen, Table
from audit.web.shown import when

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
        said = (one.to_dict() for one in versions)
        rows = ([json_cell(one.get(name)) for name in _COLUMNS] for one in said)
        return Answer(str(ref), {}, {}, table=Table(_COLUMNS, rows))
    shown = [one for one in versions if asked.cut.holds((one.log, one.index))]
    skip = asked.skipped(MAX_OFFSET)
    newest = list(reversed(shown))[skip : skip + VERSIONS]
    row, blamed = _row(ledger, ref, asked, versions)
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
        "place": _place(versions, shown),
        "older": asked.here(skip=str(skip + VERSIONS)) if skip + VERSIONS < len(shown) else None,
    }
    point = asked.text("as_of")
    command = ("audit", "blame" if ref.is_row else "history", str(ref))
    return Answer(str(ref), data, view, command + (("--as-of", point) if point else ()))


def _row(ledger: Ledger, ref: Ref, asked: Asked, versions: list[Version]) -> tuple[Row | None, Any]:
    """The row at the cut, and who gave its fields their values; nothing of what is no row."""
    if not ref.is_row:
        return None, None
    cut, valid_at = asked.cut, asked.text("valid_at")
    try:
        blamed = ledger.blame(ref, cut, valid_at)
        if blamed.fields:
            # Who is blamed for a field is told with its value: that is the row.
            return {one.field: one.value for one in blamed.fields}, blamed
        return ledger.replay_row(ref, cut, valid_at), blamed
    except NotFound:
        if not versions:
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
        (
            asked.here(as_of=f"{one.log}/{one.index}", pin=None, skip=None),
            f"{when(one.recorded_time_us)} {one.op}",
        )
        for one in newest
    ]


def _place(versions: list[Version], shown: list[Version]) -> int:
    """Where on the slider the point is: 0 is before its first version."""
    return max(0, len(shown) - max(0, len(versions) - MAX_SLIDER))


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
