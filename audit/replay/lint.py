"""What deserves a look: events that did not fit what they met, and keys that look alike.

Nothing here is an error of the ledger: everything was recorded and folded as it came.
"""

import re
import unicodedata
from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

from audit.replay.fold import Flag, Judged, Position, as_recorded
from audit.replay.known import require_dataset
from audit.replay.points import Cut
from audit.replay.steps import Steps
from audit.store.contract import Reader

MAX_FIELDS_NAMED = 5

_NUMBER = re.compile(r"[+-]?[0-9]{1,300}(\.[0-9]{1,300})?")
_INVISIBLE = frozenset(("Cc", "Cf", "Zs", "Zl", "Zp"))

_WORDS = {
    Flag.DOUBLE_CREATE: "creates what is there already",
    Flag.UPDATE_OF_UNKNOWN: "updates what is not there: the row is known in part",
    Flag.DELETE_OF_UNKNOWN: "deletes what is not there",
    Flag.DRIFT: "a change was never captured",
    Flag.UNDECODABLE: "cannot be read",
    Flag.SUPERSEDES_UNKNOWN: "supersedes no earlier event of its key in its log",
}


class Odd(NamedTuple):
    """One event that did not fit, and what is odd about it."""

    position: Position
    entity_type: str
    entity_key: str
    flag: Flag
    message: str


def odd_events(reader: Reader, entity_type: str, cut: Cut) -> Iterator[Odd]:
    """The flagged events of a dataset below the cut, key by key in byte order, in flat memory.

    Raises NotFound for an unknown entity type.
    """
    require_dataset(reader, entity_type)
    steps = Steps(reader, entity_type, cut)
    for key in steps.keys():  # noqa: SIM118 - it reads the store, it is no dict's
        for judged in as_recorded(steps.of_key(key)):
            event = judged.step.record.event
            if event is None or event.entity_key is None:
                continue  # a truncate concerns no single key
            for flag in judged.flags:
                message = f"{entity_type}/{key}: {_WORDS[flag]}{_detail(judged, flag)}"
                yield Odd(judged.step.position, entity_type, key, flag, message)


def _detail(judged: Judged, flag: Flag) -> str:
    if flag is Flag.UNDECODABLE:
        return f" ({judged.step.problem})"
    if flag is Flag.DRIFT:
        names = list(judged.drift)
        more = ", ..." if len(names) > MAX_FIELDS_NAMED else ""
        return f" (before differs in {', '.join(names[:MAX_FIELDS_NAMED])}{more})"
    return ""


def lookalikes(reader: Reader, entity_type: str, cut: Cut) -> list[tuple[str, ...]]:
    """Groups of different keys that a person may take for the same, each in byte order.

    `1`, `01` and `1.0`; NFC and NFD; upper and lower case; spaces and invisible characters. They
    stay different keys; nothing is ever merged.
    """
    require_dataset(reader, entity_type)
    groups: dict[str, list[str]] = {}
    for key in Steps(reader, entity_type, cut).keys():  # noqa: SIM118 - it reads the store
        groups.setdefault(_skeleton(key), []).append(key)
    return [tuple(keys) for keys in groups.values() if len(keys) > 1]


def _skeleton(key: str) -> str:
    """What is left of a key when all that is easily overlooked is taken away."""
    text = unicodedata.normalize("NFKC", key).casefold()
    text = "".join(c for c in text if unicodedata.category(c) not in _INVISIBLE)
    if text.isascii() and _NUMBER.fullmatch(text):
        number = Decimal(text)
        return f"number {number.normalize() if number else 0}"
    return f"text {text}"
