"""What differs between two points, of a dataset or of one row."""

from itertools import islice
from typing import Any

from audit.ledger.said import json_cell
from audit.replay.points import Cut
from audit.replay.refs import is_ref
from audit.web.answer import VALID_AT, Answer, Asked, Parameter, Screen, Table
from audit.web.pinned import pin_text, pinned

PAGE_ROWS = 100
MAX_SKIP = 1_000_000_000
_COLUMNS = ("entity_key", "change", "field", "before", "after")


def _answer(asked: Asked) -> Answer:
    what = asked.text("what")
    if what is None:
        view: dict[str, Any] = {"a": "", "b": "", "changes": [], "next": None}
        data: dict[str, Any] = {"what": None, "rows": [], "more": False}
        return Answer("Compare", data, view, ("audit", "diff"), permalink=asked.here())
    a, b = asked.text("a") or "-1d", asked.text("b") or "HEAD"
    cuts = _cut(asked, a), _cut(asked, b)
    found = asked.ledger.diff(what, *cuts, asked.text("valid_at"))
    if asked.wants_table:
        return Answer(f"{what} compared", {}, {}, table=Table(_COLUMNS, _cells(found)))
    skip = asked.skipped(MAX_SKIP)
    found_rows = list(islice(found, skip, skip + PAGE_ROWS + 1))
    more = len(found_rows) > PAGE_ROWS
    rows = [row.to_dict() for row in found_rows[:PAGE_ROWS]]
    data = {
        "what": what,
        "a": pin_text(cuts[0]),
        "b": pin_text(cuts[1]),
        "rows": rows,
        "more": more,
    }
    pins = {"a": data["a"], "b": data["b"]}
    view = {
        "given_a": a,
        "given_b": b,
        "is_row": is_ref(what),
        "changes": [(row, _ref(what, row["entity_key"])) for row in rows],
        "first": skip + 1,
        "next": asked.here(**pins, skip=str(skip + PAGE_ROWS)) if more else None,
    }
    return Answer(
        f"{what}: {a} to {b}",
        data,
        view,
        ("audit", "diff", what, f"{a}..{b}"),
        next=view["next"],
        permalink=asked.here(**pins),
    )


def _cut(asked: Asked, point: str) -> Cut:
    """A point as users type it, or the sizes of a pin."""
    if ":" in point and point.replace(":", "").replace(",", "").isdigit():
        return pinned(asked.ledger.reader, point)
    return asked.ledger.cut(point)


def _ref(what: str, entity_key: str) -> str:
    return what if is_ref(what) else f"{what}/{entity_key}"


def _cells(found: Any) -> Any:
    """A line for each cell that differs."""
    for row in found:
        said = row.to_dict()
        for name, pair in said["fields"].items():
            old, new = (json_cell(pair.get(side)) for side in ("old", "new"))
            yield said["entity_key"], said["change"], name, old, new


COMPARE = Screen(
    path="/diff",
    template="compare.html",
    about="The rows of a dataset, or the one row of a reference, that differ between two points.",
    answer=_answer,
    parameters=(
        Parameter("what", "A dataset or a row: user, user/5.", example="user"),
        Parameter(
            "a", "The earlier point: a time, a position, or sizes as in a pin.", example="-7d"
        ),
        Parameter("b", "The later one; HEAD unless told.", example="HEAD"),
        VALID_AT,
        Parameter("skip", "Rows to leave out.", most=MAX_SKIP),
    ),
    menu="Compare",
    tabular=True,
    is_at_point=False,
)
