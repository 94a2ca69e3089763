"""Keys and names that a person reading a policy would take for one another."""

import unicodedata
from collections.abc import Sequence
from itertools import combinations

Pinned = tuple[str, bytes, int, int | None]
"""A name, a 32-byte public key, and the first and last index it is good for."""

MAX_COMPARED = 256
"""Of more keys than these only the first are compared with one another, pair by pair."""


def look_alikes(logs: Sequence[Pinned], producers: Sequence[Pinned]) -> list[str]:
    """One message for each pair that looks alike.

    A name with two keys is one of them, unless their ranges of indexes do not touch: that is what
    a rotated key looks like.
    """
    messages = []
    for what, pinned in (("log", logs), ("producer", producers)):
        for one, other in combinations(pinned[:MAX_COMPARED], 2):
            message = _compare(what, one, other)
            if message:
                messages.append(message)
    log_keys = {key: name for name, key, _, _ in logs}
    for name, key, _, _ in producers:
        if key in log_keys:
            messages.append(f"the producer {name} and the log {log_keys[key]} have the same key")
    return messages


def _compare(what: str, one: Pinned, other: Pinned) -> str | None:
    if one[1] == other[1]:
        if one[0] != other[0]:
            return f"the {what}s {one[0]} and {other[0]} have the same key"
        return None
    if one[0] == other[0]:
        return f"the {what} {one[0]} has two different keys" if _overlap(one, other) else None
    if _folded(one[0]) == _folded(other[0]):
        return f"the {what}s {one[0]} and {other[0]} have names that look alike"
    return None


def _overlap(one: Pinned, other: Pinned) -> bool:
    first = max(one[2], other[2])
    return all(last is None or first <= last for last in (one[3], other[3]))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()
