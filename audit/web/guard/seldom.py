"""Warnings that anybody out there can set off, said now and again: a log must not fill a disk."""

import logging
from collections.abc import Callable
from threading import Lock

SAY_SECONDS = 60.0
"""So often, at most, the same warning is said, and how often it was left out meanwhile."""
MAX_WARNINGS = 100
"""Kinds of warning that are remembered; there are a dozen."""


class Seldom(logging.Filter):
    """Of one logger: each kind of warning once in SAY_SECONDS. Errors all pass."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock`: seconds, never going back."""
        super().__init__()
        self._clock = clock
        self._lock = Lock()
        self._said: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is said."""
        if record.levelno != logging.WARNING:
            return True
        kind, now = str(record.msg), self._clock()
        with self._lock:
            at, left_out = self._said.get(kind, (now - SAY_SECONDS, 0))
            is_said = now - at >= SAY_SECONDS
            if len(self._said) >= MAX_WARNINGS:
                self._said.clear()
            self._said[kind] = (now, 0) if is_said else (at, left_out + 1)
        if is_said and left_out:
            record.msg = f"{kind} ({left_out:,} more since it was last said)"
        return is_said
