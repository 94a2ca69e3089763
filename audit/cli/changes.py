"""Changes of fields as text for people."""

from collections.abc import Mapping

from audit.event.values import Value
from audit.replay.fold import Absent
from audit.replay.rows_out import plain_text

Pair = tuple[Value | Absent, Value | Absent]


def changes_text(changes: Mapping[str, Pair]) -> str:
    """`dpt: SCS -> ISR, name: + Christian`."""
    return ", ".join(f"{name}: {pair_text(pair)}" for name, pair in changes.items())


def pair_text(pair: Pair) -> str:
    """`SCS -> ISR`; `+ ISR` for a field that was not there, `- SCS` for one that is gone."""
    old, new = pair
    if isinstance(old, Absent):
        return "" if isinstance(new, Absent) else f"+ {plain_text(new)}"
    if isinstance(new, Absent):
        return f"- {plain_text(old)}"
    return f"{plain_text(old)} -> {plain_text(new)}"
