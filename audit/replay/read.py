"""What was read of a store on the way to one answer, so that it is asked for only once."""

from audit.replay.fold import Position
from audit.replay.trusted import trusted_record
from audit.store.contract import Located, Reader


class Read:
    """The sizes of the logs, and some entries. For one answer, and never kept longer."""

    def __init__(self, reader: Reader) -> None:
        """Nothing is read yet."""
        self._reader = reader
        self._sizes: dict[int, int] | None = None
        self.leaves: dict[Position, Located] = {}
        self._times_us: dict[Position, int] = {}

    def sizes(self) -> dict[int, int]:
        """The size of each log when they were first asked for."""
        if self._sizes is None:
            self._sizes = self._reader.sizes()
        return self._sizes

    def recorded_us(self, log: int, index: int, leaf: bytes) -> int:
        """When an entry says that it was recorded. Raises StoreCorrupt."""
        time_us = self._times_us.get((log, index))
        if time_us is None:
            time_us = trusted_record(log, index, leaf).recorded_time_us
            self._times_us[log, index] = time_us
        return time_us
