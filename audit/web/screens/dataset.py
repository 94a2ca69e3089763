"""A dataset as it was: any point, either axis, some columns, rows that conditions fit."""

from bisect import bisect_right
from typing import Any

from audit.event.values import fields_to_json
from audit.ledger.answers import DatasetAnswer
from audit.ledger.said import json_cell
from audit.replay.conditions import parse_wheres
from audit.replay.names import KEY_COLUMN, output_name
from audit.replay.refs import Ref
from audit.replay.rows_out import row_to_json
from audit.web.answer import VALID_AT, Answer, Asked, Parameter, Screen, Table
from audit.web.pinned import pin_text

DEFAULT_ROWS = 100
MAX_ROWS = 1_000
"""Rows of one page."""
MAX_NAMES = 500
"""Datasets of one page of their names."""
MAX_SKIP = 1_000_000_000
MAX_SHOWN_COLUMNS = 60
"""Columns of the page's table; JSON, CSV and Parquet have all."""


def _list(asked: Asked) -> Answer:
    names = asked.ledger.datasets()
    after = asked.text("after")
    first = 0 if after is None else bisect_right(names, after)
    shown = names[first : first + MAX_NAMES]
    token = shown[-1] if first + MAX_NAMES < len(names) else None
    data = {"datasets": shown, "count": len(names), "next": token}
    older = None if token is None else asked.here(after=token)
    return Answer("Datasets", data, {"first": first, "onward": older}, _STATUS, next=older)


def _answer(asked: Asked) -> Answer:
    name, valid_at = asked.needed("name"), asked.text("valid_at")
    columns = [one for one in (asked.text("columns") or "").split(",") if one]
    wheres = [one for one in (asked.text("where") or "").split("\n") if one.strip()]
    found = asked.ledger.dataset(
        name,
        asked.cut,
        valid_at,
        columns or "union",
        filters=parse_wheres(tuple(line.strip() for line in wheres)),
    )
    shown = [(output_name(one), one) for one in found.dataset.columns]
    if asked.wants_table:
        table = Table((KEY_COLUMN, *(one for one, _ in shown)), _rows(found), found.to_arrow)
        return Answer(name, {}, {}, table=table)
    return _page(asked, name, found, shown)


def _page(asked: Asked, name: str, found: DatasetAnswer, shown: list[tuple[str, str]]) -> Answer:
    limit = asked.number("limit", DEFAULT_ROWS, MAX_ROWS)
    skip = asked.skipped(MAX_SKIP)
    rows = list(found.dataset.rows_between(skip, skip + limit + 1))
    more = len(rows) > limit
    data = {
        "dataset": name,
        "rows": [row_to_json(key, row) for key, row in rows[:limit]],
        "columns": [one for one, _ in shown],
        "citation": found.cited,
        "more": more,
        "undecodable": found.dataset.undecodable,
    }
    # Pages of one answer: the next link pins the point, so that nothing moves in between.
    pinned = {"pin": pin_text(asked.cut), "as_of": None}
    view: dict[str, Any] = {
        "shown": shown[:MAX_SHOWN_COLUMNS],
        "hidden": len(shown) - len(shown[:MAX_SHOWN_COLUMNS]),
        "cells": [
            (Ref(name, key), [_cell(row, one) for _, one in shown]) for key, row in rows[:limit]
        ],
        "first": skip + 1,
        "last": skip + len(rows[:limit]),
        "next": asked.here(skip=str(skip + limit), **pinned) if more else None,
        "previous": asked.here(skip=str(max(0, skip - limit)) if skip > limit else None, **pinned)
        if skip
        else None,
        "hint": found.hint,
        "python": _python(asked, name),
        "before": pin_text(asked.cut),
    }
    return Answer(name, data, view, _command(asked, name), next=view["next"])


_STATUS = ("audit", "status")
_ABSENT = ("absent", None)


def _cell(row: Any, name: str) -> tuple[str, Any]:
    return ("value", row[name]) if name in row else _ABSENT


def _rows(found: DatasetAnswer) -> Any:
    columns = found.dataset.columns
    for key, row in found.dataset.rows():
        spelled = fields_to_json(row)
        yield [key, *(json_cell(spelled.get(name)) for name in columns)]


def _point(asked: Asked) -> str:
    """The point in words that the library and the command take for the same sizes."""
    if asked.text("as_of"):
        return asked.parameters["as_of"]
    newest = max(asked.cut.sizes.items(), key=lambda one: one[1], default=(0, 0))
    return f"{newest[0]}/{newest[1] - 1}" if newest[1] else "HEAD"


def _python(asked: Asked, name: str) -> str:
    """The line that makes the same frame."""
    given = [f"{name!r}", f"as_of={_point(asked)!r}"]
    if asked.text("valid_at"):
        given.append(f"valid_at={asked.parameters['valid_at']!r}")
    columns = [one for one in (asked.text("columns") or "").split(",") if one]
    if columns:
        given.append(f"columns={columns!r}")
    return f"audit.Ledger({asked.ledger.reader.address!r}).replay({', '.join(given)})"


def _command(asked: Asked, name: str) -> tuple[str, ...]:
    words = ["audit", "replay", name, "--as-of", _point(asked)]
    for option, parameter in (("--valid-at", "valid_at"), ("--columns", "columns")):
        if asked.text(parameter):
            words += [option, asked.parameters[parameter]]
    for line in (asked.text("where") or "").split("\n"):
        if line.strip():
            words += ["--where", line.strip()]
    return tuple(words)


DATASETS = Screen(
    path="/datasets",
    template="datasets.html",
    about="The names of the datasets.",
    answer=_list,
    parameters=(Parameter("after", "The token of the page before: the names after this one."),),
    menu="Datasets",
)
DATASET = Screen(
    path="/dataset",
    template="dataset.html",
    about="The rows of a dataset at a point, with the citation of what they stand on.",
    answer=_answer,
    parameters=(
        Parameter("name", "The dataset: an entity type.", required=True, example="user"),
        VALID_AT,
        Parameter("columns", "Names with commas between; all unless told.", example="name,amount"),
        Parameter("where", "Conditions, one a line.", example="amount>=1000\nstatus=open"),
        Parameter("limit", "Rows of a page; 100 unless told.", least=1, most=MAX_ROWS),
        Parameter("skip", "Rows to leave out.", most=MAX_SKIP),
    ),
    tabular=True,
)
