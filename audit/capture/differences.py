"""What must be emitted so that a row as it is becomes a row as it should be."""

from typing import Any, NamedTuple

from audit.event.row import FULL, PATCH
from audit.replay.fold import Row, same_value


class Difference(NamedTuple):
    """One event: its operation, image, and values."""

    op: str
    image: str
    after: dict[str, Any]


def difference(old: Row | None, new: Row, missing_is_null: bool) -> Difference | None:
    """The create or update that leads from `old` to `new`; None when they are the same.

    Values are compared with their types: 1 and 1.0 differ. `missing_is_null` is for tables, where a
    cell can only be null: null is then no difference where the old row does not have the field.
    """
    if old is None:
        return Difference("create", FULL, new)
    if missing_is_null:
        new = {name: value for name, value in new.items() if value is not None or name in old}
    if old.keys() - new.keys():
        return Difference("update", FULL, new)
    changed = {
        name: value
        for name, value in new.items()
        if name not in old or not same_value(old[name], value)
    }
    return Difference("update", PATCH, changed) if changed else None
