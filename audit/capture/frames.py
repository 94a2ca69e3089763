"""A DataFrame against a dataset: emit what differs."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from audit.capture.differences import difference
from audit.errors import InvalidInput, NotFound
from audit.event.build import new_event_id
from audit.event.values import Value, key_text, normalize_fields

if TYPE_CHECKING:
    import pandas

    from audit.capture.emitter import Emitter
    from audit.capture.options import Options

Row = dict[str, Value]


class FrameResult(NamedTuple):
    """How many rows of a frame were new, differed, were gone, or were the same."""

    created: int
    updated: int
    deleted: int
    unchanged: int


def emit_frame(
    emitter: "Emitter", entity: str, df: "pandas.DataFrame", key: Any, options: "Options"
) -> FrameResult:
    """See `Emitter.frame`. The whole frame is checked before the first event is emitted."""
    if options.keys().isdisjoint(("transaction", "transaction_id")):
        options = {**options, "transaction": new_event_id()}
    store = emitter.store
    if store is None:
        raise InvalidInput(
            "a frame is compared with the rows now, and Kafka has no such state\n"
            'say where the ledger is: Emitter(..., store="postgresql://...") or AUDIT_STORE'
        )
    rows = _rows(df, key)
    emitter.flush()
    now = _rows_now(store, entity)
    created = updated = unchanged = 0
    for text, row in rows.items():
        found = difference(now.pop(text, None), row, missing_is_null=True)
        if found is None:
            unchanged += 1
        elif found.op == "create":
            emitter.create(entity, text, found.after, **options)
            created += 1
        else:
            emitter.update(entity, text, found.after, full=found.image == "full", **options)
            updated += 1
    for text in now:
        emitter.delete(entity, text, **options)
    return FrameResult(created, updated, len(now), unchanged)


def _rows(df: "pandas.DataFrame", key: Any) -> dict[str, Row]:
    """key -> row, every value checked. Raises InvalidInput naming the row."""
    if not hasattr(df, "columns") or not hasattr(df, "index"):
        raise InvalidInput(f"a frame is a pandas DataFrame, not {type(df).__name__}")
    names = list(df.columns)
    if len(set(names)) != len(names):
        raise InvalidInput("the frame has two columns of one name")
    keys = _keys(df, key, names)
    rows: dict[str, Row] = {}
    columns = [_cells(df, name) for name in names]
    for number, (row_key, *cells) in enumerate(zip(keys, *columns, strict=True)):
        try:
            text = key_text(row_key)
            row = normalize_fields(dict(zip(names, cells, strict=True)))
        except InvalidInput as error:
            raise type(error)(f"row {number} of the frame: {error}") from None
        if text in rows:
            raise InvalidInput(f"row {number} of the frame has the key {text[:64]!r} a second time")
        rows[text] = row
    return rows


def _keys(df: "pandas.DataFrame", key: Any, names: list[Any]) -> Iterator[Any]:
    if key is None:
        return iter(df.index.tolist())
    if isinstance(key, str):
        return iter(_cells(df, _known(key, names)))
    parts = [_cells(df, _known(name, names)) for name in key]
    if not parts:
        raise InvalidInput("a key has at least one column; None means the index")
    return zip(*parts, strict=True)


def _known(name: Any, names: list[Any]) -> Any:
    if name not in names:
        listed = ", ".join(map(str, names[:20]))
        raise InvalidInput(f"the frame has no column {name!r:.64}; it has {listed}")
    return name


def _cells(df: "pandas.DataFrame", name: Any) -> list[Any]:
    """The cells of a column as Python values, missing ones as None."""
    column = df[name]
    cells: list[Any] = column.tolist()
    for at in column.isna().to_numpy().nonzero()[0].tolist():
        cells[at] = None
    return cells


def _rows_now(store: str, entity: str) -> dict[str, Row]:
    from audit.replay.asof import dataset
    from audit.replay.points import resolve
    from audit.store import open_reader

    with open_reader(store) as reader:
        cut = resolve(reader, None, 0)
        try:
            return dict(dataset(reader, entity, cut).rows())
        except NotFound:
            return {}
