"""The rows of `audit sql`: a table, CSV or JSON, and on stderr what they stand on."""

import base64
import json
from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from audit.cli.output import counted, write, write_json, write_table
from audit.cli.session import note
from audit.event.times import format_time, us_of_time

if TYPE_CHECKING:
    from audit.ledger.sql.engine import SqlAnswer

Show = Callable[["SqlAnswer"], None]


def shower(as_csv: bool, as_json: bool) -> Show:
    """How answers are shown."""
    return _json if as_json else _csv if as_csv else _table


def _rows(answer: "SqlAnswer") -> Iterator[tuple[Any, ...]]:
    for batch in answer.batches():
        columns = [_cells(column) for column in batch.columns]
        yield from zip(*columns, strict=True) if columns else ()


def _cells(column: Any) -> list[Any]:
    """A column as Python values; whole numbers of the engine's widest type as int."""
    import pyarrow as pa

    cells: list[Any] = column.to_pylist()
    if pa.types.is_decimal(column.type) and column.type.scale == 0:
        return [None if cell is None else int(cell) for cell in cells]
    return cells


def _table(answer: "SqlAnswer") -> None:
    rows = (tuple(_text(cell) for cell in row) for row in _rows(answer))
    count = write_table(answer.columns, rows) if answer.columns else 0
    note("\n".join([counted(count, "row"), *_cited(answer)]))


def _csv(answer: "SqlAnswer") -> None:
    write(",".join(_quoted(name) for name in answer.columns) + "\n")
    count = 0
    for row in _rows(answer):
        write(",".join("" if cell is None else _quoted(_text(cell)) for cell in row) + "\n")
        count += 1
    note("\n".join([counted(count, "row"), *_cited(answer)]))


def _json(answer: "SqlAnswer") -> None:
    names = _unique(answer.columns)
    rows = [dict(zip(names, map(_spelled, row), strict=True)) for row in _rows(answer)]
    write_json({"rows": rows, "citation": answer.citation()})


def _cited(answer: "SqlAnswer") -> list[str]:
    lines = []
    for what, citation in answer.cited:
        prefix = what if " as of " in what else f"as of {what}"
        for log in citation.logs:
            root = "unknown here" if log.root_hash is None else log.root_hash.hex()
            lines.append(f"{prefix}: {log.origin}, size {log.size}, root {root}")
        lines += citation.remarks()
    return lines


def _unique(names: tuple[str, ...]) -> list[str]:
    """The columns' names, so that none hides another in a JSON object."""
    found: list[str] = []
    for name in names:
        number, shown = 1, name
        while shown in found:
            number += 1
            shown = f"{name}_{number}"
        found.append(shown)
    return found


def _text(value: Any) -> str:
    """A value as text for people and CSV."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float):
        return _double(value)
    if isinstance(value, datetime):
        return _time(value)
    if isinstance(value, dict | list | tuple):
        return json.dumps(_spelled(value), ensure_ascii=False)
    return str(value)


def _spelled(value: Any) -> Any:
    """A value as JSON, in the spelling of `audit.event.values`; other types as their text."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if value - value == 0:
            return value
        return {"$double": _double(value)}
    if isinstance(value, Decimal):
        return {"$decimal": str(value)}
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, datetime):
        return {"$timestamp": _time(value)} if value.tzinfo else _time(value)
    if isinstance(value, date):
        return {"$date": value.isoformat()}
    if isinstance(value, dict):
        return {str(name): _spelled(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_spelled(item) for item in value]
    return str(value)


def _double(value: float) -> str:
    if value != value:
        return "NaN"
    if value - value != 0:
        return "Infinity" if value > 0 else "-Infinity"
    return repr(value)


def _time(value: datetime) -> str:
    return format_time(us_of_time(value)) if value.tzinfo else value.isoformat()


def _quoted(text: str) -> str:
    """A cell of CSV: the empty text is quoted, null is not."""
    plain = text and not set(text) & set(',"\r\n') and text == text.strip()
    return text if plain else '"' + text.replace('"', '""') + '"'
