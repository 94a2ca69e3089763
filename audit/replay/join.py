"""Point-in-time joins: for every row of a frame the values known at that row's own time.

This is the training set without leakage. The answer of each row is that of `replay_row` at its time
(on the recorded axis: what had been recorded by then; on the valid axis: what was true then, as
known at the cut); the cost is one walk over the dataset (over its columns, where there is a read
model), or over the entries of the keys where they are few. A row without time or key, before the
first event, or of an unknown key gets no values. A time after the head gets those of the head.
"""

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from audit.errors import InvalidInput
from audit.replay.columns import Naming
from audit.replay.fastpath import fast_known_at
from audit.replay.fold import Row
from audit.replay.known import require_dataset
from audit.replay.names import output_name
from audit.replay.outputs import METADATA_KEY
from audit.replay.points import Cut
from audit.replay.pointwise import rows_at
from audit.replay.select import Selection, check_columns, selection
from audit.replay.spine import RowValues, Spine, Values, kind_of, spine_of, with_columns
from audit.replay.steps import MAX_SINGLE_KEYS, Steps
from audit.store.contract import Reader

if TYPE_CHECKING:
    from audit.replay.columnar.fold.moments import Known

JOINS_KEY = "audit_joins"
"""Where a joined frame lists the citations of its joins, in attrs or an Arrow schema's metadata."""

Axis = Literal["recorded", "valid"]
AXES: tuple[Axis, ...] = ("recorded", "valid")


class Join(NamedTuple):
    """What to join to a spine.

    `time`, `key`: columns of the spine (`key` None: `entity_key`, else the index). `columns`: those
    of the dataset, None for all that were ever set for the spine's keys. They are called as in a
    replay, between `prefix` and `suffix`.
    """

    time: str
    key: str | None = None
    columns: tuple[str, ...] | None = None
    axis: Axis = "recorded"
    prefix: str = ""
    suffix: str = ""


def join_of(
    time: str,
    key: str | None = None,
    columns: Iterable[str] | None = None,
    axis: str = "recorded",
    prefix: str = "",
    suffix: str = "",
) -> Join:
    """A join, checked. Raises InvalidInput."""
    if axis not in AXES:
        raise InvalidInput(f"axis is recorded or valid, not {axis!r:.40}")
    if isinstance(columns, str):
        raise InvalidInput(f"columns are a list of names, not {columns!r:.40}")
    for name, text in (("time", time), ("prefix", prefix), ("suffix", suffix)):
        if not isinstance(text, str):
            raise InvalidInput(f"{name} is a text, not {type(text).__name__}")
    named = None if columns is None else selection(columns).columns
    return Join(time, key, named, "valid" if axis == "valid" else "recorded", prefix, suffix)


def join_asof(
    reader: Reader,
    spine: Any,
    entity_type: str,
    cut: Cut,
    join: Join,
    now_us: int,
    citation: Mapping[str, Any],
) -> Any:
    """The spine with the values of a dataset at each row's time, as a frame of the same kind.

    Order, index and dtypes of the spine stay. Nothing above the cut is read. Raises NotFound for
    an unknown entity type, InvalidInput for columns that are not there or would be there twice.
    """
    require_dataset(reader, entity_type)
    places = spine_of(spine, join.time, join.key, now_us)
    steps = Steps(reader, entity_type, cut, Naming(reader, entity_type, cut))
    values, found = _values(steps, places, join)
    if join.columns is None:
        columns = tuple(sorted(found, key=output_name))
    else:
        wanted = Selection(columns=join.columns)
        columns = check_columns(reader, entity_type, cut, found, wanted)
    named = [f"{join.prefix}{output_name(field)}{join.suffix}" for field in columns]
    joined = with_columns(spine, values, columns, named)
    said = {
        "join": {"axis": join.axis, "time": join.time, "key": join.key, "columns": named},
        **citation,
    }
    return _cited(joined, said)


def _values(steps: Steps, spine: Spine, join: Join) -> tuple[Values, tuple[str, ...]]:
    """What is known for each row of the spine, and the fields ever set."""
    valid = join.axis == "valid"
    if len(set(spine.keys)) > MAX_SINGLE_KEYS:
        fast = fast_known_at(steps, spine.keys, spine.times_us, join.columns, valid)
        if fast is not None:
            found = _filled(steps, spine, fast, valid)
            # A field may be mentioned without ever getting a value: of which keys is not known.
            if join.columns is not None or found == fast.mentioned:
                from audit.replay.columnar.fold.shown import ColumnValues

                fields = tuple(sorted(found | fast.mentioned))
                return ColumnValues(len(fast), fast.column), fields
    rows, columns = _rows(steps, spine, range(len(spine.keys)), valid)
    return RowValues(rows), columns


def _filled(steps: Steps, spine: Spine, fast: "Known", valid: bool) -> frozenset[str]:
    """Replay plainly what needs care; gives the fields ever set."""
    if not fast.careful:
        return fast.columns
    rows, columns = _rows(steps, spine, fast.careful, valid)
    fast.fill(rows)
    return fast.columns.union(columns)


def _rows(
    steps: Steps, spine: Spine, numbers: Iterable[int], valid: bool
) -> tuple[list[Row], tuple[str, ...]]:
    """The row of each of these rows of the spine ({} where there is none); the fields ever set."""
    asked = [(spine.keys[number], spine.times_us[number]) for number in numbers]
    moments: dict[str, set[int]] = {}
    for key, time_us in asked:
        if key is not None and time_us is not None:
            moments.setdefault(key, set()).add(time_us)
    found = rows_at(steps, {key: sorted(own) for key, own in moments.items()}, valid)
    at = {key: dict(zip(sorted(own), found.rows[key], strict=True)) for key, own in moments.items()}
    rows: list[Row] = []
    for key, time_us in asked:
        row = None if key is None or time_us is None else at[key][time_us]
        rows.append(row or {})
    return rows, found.columns


def _cited(frame: Any, said: dict[str, Any]) -> Any:
    """The frame with one more citation; one of an earlier replay or join stays."""
    kind = kind_of(frame)
    if kind == "pandas":
        attrs = {**frame.attrs}
        attrs.setdefault(METADATA_KEY, said)
        attrs[JOINS_KEY] = [*_list_of(attrs.get(JOINS_KEY, [])), said]
        frame.attrs = attrs
    elif kind == "arrow":
        held = dict(frame.schema.metadata or {})
        earlier = _earlier(held.get(JOINS_KEY.encode(), b"[]"))
        held.setdefault(METADATA_KEY.encode(), json.dumps(said).encode())
        held[JOINS_KEY.encode()] = json.dumps([*earlier, said]).encode()
        frame = frame.replace_schema_metadata(held)
    return frame


def _earlier(text: bytes) -> list[Any]:
    try:
        return _list_of(json.loads(text))
    except (ValueError, RecursionError):
        return _list_of(None)


def _list_of(earlier: object) -> list[Any]:
    if not isinstance(earlier, list):
        raise InvalidInput(f"what the spine holds under {JOINS_KEY!r} is none that a join left")
    return earlier
