"""How far a long command is: one line on stderr, on a terminal only, gone when it is done."""

import sys
import time
from types import TracebackType
from typing import Self

SECONDS_BETWEEN = 0.1
BAR_COLUMNS = 30
CLEAR = "\r\x1b[K"


class Progress:
    """Call it with the number done and the number in all. Silent where stderr is no terminal."""

    def __init__(self, verb: str, things: str) -> None:
        """`Progress("checking", "entries")` shows `checking 1,000 of 2,000 entries`."""
        self._verb = verb
        self._things = things
        self._shown = sys.stderr.isatty()
        self._last = time.monotonic()
        self._dirty = False

    def __call__(self, done: int, total: int) -> None:
        """Show it, unless that was done a moment ago. A total of 0 is not known."""
        if not self._shown:
            return
        if total and done >= total:
            self._clear()
            return
        now = time.monotonic()
        if now - self._last < SECONDS_BETWEEN:
            return
        self._last = now
        self._dirty = True
        sys.stderr.write(f"{CLEAR}{self._text(done, total)}")
        sys.stderr.flush()

    def _text(self, done: int, total: int) -> str:
        if not total:
            return f"{self._verb} {done:,} {self._things}"
        filled = BAR_COLUMNS * min(done, total) // total
        bar = "#" * filled + "." * (BAR_COLUMNS - filled)
        return f"{self._verb} [{bar}] {done:,} of {total:,} {self._things}"

    def __enter__(self) -> Self:
        """The progress itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Take the line away."""
        self._clear()

    def _clear(self) -> None:
        if self._dirty:
            self._dirty = False
            sys.stderr.write(CLEAR)
            sys.stderr.flush()
