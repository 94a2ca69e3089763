"""Which entry is the bad one: puts together what chain, tiles and checkpoints say.

A broken chain between two entries does not tell which of them was changed. A tile that was
compared, a checkpoint that agrees, or a second break right after it does.
"""

MAX_REMEMBERED = 10_000
"""Bad indexes, and chain breaks, that are remembered; entries come in order, so the first ones."""


class Evidence:
    """What the steps learned about single positions of one log."""

    def __init__(self) -> None:
        self.agreed = 0
        """Largest size at which a signed root was found equal: everything below it is genuine."""
        self.external_agreed = 0
        """The same, by checkpoints from elsewhere alone."""
        self.tiles_until = 0
        """Entries below this were compared with a stored tile."""
        self._bad: set[int] = set()
        self._tile_bad: set[int] = set()
        self._breaks: set[int] = set()

    def bad(self, index: int) -> None:
        """This entry, or its row, is wrong."""
        if len(self._bad) < MAX_REMEMBERED:
            self._bad.add(index)

    def tile_disagrees(self, index: int) -> None:
        """The stored tile holds another leaf hash for this entry."""
        if len(self._tile_bad) < MAX_REMEMBERED:
            self._tile_bad.add(index)

    def chain_breaks_after(self, index: int) -> None:
        """The entry after this one holds another hash for it."""
        if len(self._breaks) < MAX_REMEMBERED:
            self._breaks.add(index)

    def culprit(self, index: int) -> int:
        """Of the entries `index` and `index` + 1, between which the chain breaks, the bad one."""
        if index < self.agreed:
            return index + 1
        if index in self._tile_bad or index in self._bad:
            return index
        if index < self.tiles_until or index + 1 in self._bad:
            return index + 1
        if index + 1 in self._breaks and index - 1 not in self._breaks:
            # One entry with a changed prev_hash explains both breaks.
            return index + 1
        return index

    def breaks(self) -> list[int]:
        """All remembered breaks, in order."""
        return sorted(self._breaks)

    def first_bad(self, begin: int, end: int) -> int:
        """The first entry known to be bad in [begin, end); `begin` when none is known there."""
        known = [self.culprit(index) for index in self._breaks]
        known.extend(self._bad)
        known.extend(self._tile_bad)
        return min((index for index in known if begin <= index < end), default=begin)
