"""One finding, and how findings are collected while a ledger is verified."""

from collections import Counter
from typing import Any, NamedTuple

MAX_FINDINGS_PER_CODE = 10
"""Findings of one code that are listed for a log; further ones are counted in one more."""


class Finding(NamedTuple):
    """One failed check, or one warning: its code, the first bad index if it has one, the words.

    `index` is the entry it is about, counted from 0; `origin` the log, None for the whole ledger.
    """

    code: str
    index: int | None  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    message: str
    origin: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As in INTERFACE: code, index, message."""
        return {"code": self.code, "index": self.index, "message": self.message}


class Notes:
    """Collects findings (or warnings) without growing: after some of one code it only counts."""

    def __init__(self, origin: str | None = None) -> None:
        self.origin = origin
        self._kept: list[Finding] = []
        self._counts: Counter[str] = Counter()
        self._first_left_out: dict[str, int | None] = {}

    def add(self, code: str, index: int | None, message: str) -> None:
        """Note one."""
        self._counts[code] += 1
        if self._counts[code] <= MAX_FINDINGS_PER_CODE:
            self._kept.append(Finding(code, index, message, self.origin))
        else:
            self._first_left_out.setdefault(code, index)

    def has(self, code: str) -> bool:
        """Whether one of this code was noted."""
        return self._counts[code] > 0

    def __bool__(self) -> bool:
        return bool(self._kept)

    def listed(self) -> tuple[Finding, ...]:
        """All that were kept, by index (those without one last), then as they were noted."""
        kept = sorted(self._kept, key=_order)
        for code, index in self._first_left_out.items():
            more = self._counts[code] - MAX_FINDINGS_PER_CODE
            kept.append(Finding(code, index, f"and {more:,} more of these", self.origin))
        return tuple(kept)


def _order(finding: Finding) -> int:
    return 2**64 if finding.index is None else finding.index
