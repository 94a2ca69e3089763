"""Pauses between attempts at something that does not answer: short at first, then longer."""

FIRST_S = 0.2
LONGEST_S = 5.0
FACTOR = 2.0


class Pauses:
    """The pauses of one trouble after the other."""

    def __init__(self) -> None:
        """No trouble yet."""
        self._next_s = FIRST_S
        self._troubled = False

    def begins(self) -> bool:
        """Note an attempt that failed; True when it is the first one: say it once."""
        first = not self._troubled
        self._troubled = True
        return first

    def next_s(self) -> float:
        """How long to wait before the next attempt."""
        pause_s = self._next_s
        self._next_s = min(LONGEST_S, pause_s * FACTOR)
        return pause_s

    def over(self) -> bool:
        """Note an attempt that went well; True when those before it had failed."""
        troubled = self._troubled
        self._troubled = False
        self._next_s = FIRST_S
        return troubled
