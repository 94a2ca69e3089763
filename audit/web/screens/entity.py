"""One thing through time: the row at a point, who gave each field its value, every version."""

from collections.abc import Iterator
from typing import Any

from audit.event.values import fields_to_json, to_json
from audit.ledger.said import json_cell
from audit.replay.blame import Blame
from audit.replay.one_thing import Thing, thing
from audit.replay.points import time_of
from audit.replay.refs import parse_ref
from audit.web.answer import VALID_AT, Answer, Asked, Parameter, Screen, Table
from audit.web.shown import when

VERSIONS = 100
"""Versions on one page."""
MAX_SLIDER = 500
"""Versions that the slider reaches: the newest ones."""
_COLUMNS = (
    *("log", "index", "recorded_time", "valid_time", "op", "actor", "reason", "transaction_id"),
    *("event_id", "source", "changed", "row", "flags"),
)


def _answer(asked: Asked) -> Answer:
    ref = parse_ref(asked.needed("ref"))
    if asked.wants_table:
        said = (one.to_dict() for one in asked.ledger.history(ref))
        rows = ([json_cell(one.get(name)) for name in _COLUMNS] for one in said)
        return Answer(str(ref), {}, {}, table=Table(_COLUMNS, rows))
    valid_at = asked.text("valid_at")
    valid_us = None if valid_at is None else time_of(valid_at, asked.ledger.now_us())
    reader, before = asked.ledger.reader, asked.text("before")
    found = thing(reader, ref, asked.cut, valid_us, VERSIONS, before)
    data: dict[str, Any] = {
        "ref": str(ref),
        "versions_in_all": found.shown,
        "later_versions": len(found.marks) - found.shown,
    }
    older = None if found.older is None else asked.here(before=found.older)
    if asked.wants_data:
        data |= _data(found)
        return Answer(str(ref), data, {}, next=older)
    view = {
        "the_ref": ref,
        "cells": _cells(found),
        "gone": None if found.blame is None else found.blame.gone,
        "newest": found.versions,
        "slider": list(_slider(asked, found)),
        "place": _place(found),
        "older": older,
    }
    point = asked.text("as_of")
    command = ("audit", "blame" if ref.is_row else "history", str(ref))
    words = command + (("--as-of", point) if point else ())
    return Answer(str(ref), data, view, words, next=older)


def _data(found: Thing) -> dict[str, Any]:
    """What JSON has besides; `next` is what `before` takes for the versions that follow."""
    return {
        "row": None if found.row is None else fields_to_json(found.row),
        "blame": None if found.blame is None else _blame(found.blame),
        "versions": [one.to_dict() for one in found.versions],
        "next": found.older,
    }


def _blame(found: Blame) -> dict[str, Any]:
    """As `Blame.to_dict`, but each entry once: of a wide row one gave thousands of fields."""
    said = {one.said.position: one.said for one in found.fields}
    return {
        "fields": [
            {
                "field": one.field,
                "value": to_json(one.value),
                "log": one.said.log,
                "index": one.said.index,
            }
            for one in found.fields
        ],
        "said": [said[place].to_dict() for place in sorted(said)],
        "gone": None if found.gone is None else found.gone.to_dict(),
    }


def _cells(found: Thing) -> list[tuple[str, Any, Any]]:
    """(field, value, who said it) by field."""
    if found.blame is None:
        return []
    return [(one.field, one.value, one.said) for one in found.blame.fields]


def _slider(asked: Asked, found: Thing) -> Iterator[tuple[str, str]]:
    """(address, when) of the newest versions, oldest first."""
    # There is a parameter already, ref; the others are the same for all.
    here = asked.here(as_of=None, pin=None, before=None) + "&as_of="
    for mark in found.marks[-MAX_SLIDER:]:
        log, index = mark.position
        yield f"{here}{log}%2F{index}", f"{when(mark.recorded_time_us)} {mark.op}"


def _place(found: Thing) -> int:
    """Where on the slider the point is: 0 is before its first version."""
    return max(0, found.shown - max(0, len(found.marks) - MAX_SLIDER))


ENTITY = Screen(
    path="/entity",
    template="entity.html",
    about="One row or record: as it was, who gave each field its value, and all its versions.",
    answer=_answer,
    parameters=(
        Parameter("ref", "The thing.", required=True, example="user/5"),
        VALID_AT,
        Parameter("before", "The token of the page before: only versions before that one."),
    ),
    tabular=True,
)
