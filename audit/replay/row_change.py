"""One row at two points: what it was, what it is, and which fields differ."""

from typing import Any, NamedTuple, SupportsIndex

from audit.event.values import fields_to_json
from audit.replay.history import Changes, pair_to_json
from audit.replay.rows import Row, changed_fields


class RowChange(NamedTuple):
    """One row at both points; None where it is not there. `fields` are those that differ."""

    entity_key: str
    before: Row | None
    after: Row | None
    fields: Changes

    @property
    def kind(self) -> str:
        """added, removed or changed."""
        if self.before is None:
            return "added"
        return "removed" if self.after is None else "changed"

    def __getitem__(self, key: SupportsIndex | slice | str) -> Any:
        """By position as a tuple, or by name what `to_dict` has under it. Raises KeyError.

        "key" is another name of "entity_key".
        """
        if isinstance(key, str):
            return self.to_dict()["entity_key" if key == "key" else key]
        return tuple.__getitem__(self, key)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold; the old or the new value of a field may be absent."""
        return {
            "entity_key": self.entity_key,
            "change": self.kind,
            "before": None if self.before is None else fields_to_json(self.before),
            "after": None if self.after is None else fields_to_json(self.after),
            "fields": {name: pair_to_json(*pair) for name, pair in self.fields.items()},
        }


def change_of(key: str, before: Row | None, after: Row | None) -> RowChange | None:
    """How a row differs; None when it does not."""
    fields = changed_fields(before, after)
    if not fields and (before is None) == (after is None):
        return None
    return RowChange(key, _ordered(before), _ordered(after), fields)


def _ordered(row: Row | None) -> Row | None:
    """With its fields by name, whichever way it was found."""
    return None if row is None else {name: row[name] for name in sorted(row)}
