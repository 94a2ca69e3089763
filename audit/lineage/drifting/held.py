"""Reports over samples that were made before, bound to the root hashes of the logs at their cut."""

import threading
from collections import OrderedDict
from collections.abc import Hashable

from audit.lineage.content.distributions import Distribution
from audit.lineage.drifting.drift_report import DriftReport
from audit.replay.citation import Citation
from audit.store.contract import Reader

MAX_HELD_BYTES = 16 * 1024 * 1024
"""Of all reports that are held, about."""
COLUMN_BYTES = 4_000
"""What a column takes beside its numbers and categories, about."""
CATEGORY_BYTES = 200


class Held:
    """Reports by what they answer; those that were asked for longest ago go first."""

    def __init__(self) -> None:
        """None is held yet."""
        self._lock = threading.Lock()
        self._reports: OrderedDict[Hashable, tuple[int, DriftReport]] = OrderedDict()

    def get(self, key: Hashable) -> DriftReport | None:
        """The report under a key."""
        with self._lock:
            found = self._reports.get(key)
            if found is None:
                return None
            self._reports.move_to_end(key)
            return found[1]

    def keep(self, key: Hashable, report: DriftReport) -> None:
        """Hold a report; nothing in it is ever written to."""
        with self._lock:
            self._reports[key] = _size(report), report
            while sum(size for size, _ in self._reports.values()) > MAX_HELD_BYTES:
                self._reports.popitem(last=False)


def held_key(reader: Reader, citation: Citation, asked: Hashable) -> Hashable | None:
    """What a report depends on; None where the logs' root hashes are not known."""
    logs = tuple((log.log, log.origin, log.size, log.root_hash) for log in citation.logs)
    if any(root is None for *_, root in logs):
        return None
    return reader.address, logs, asked


def _size(report: DriftReport) -> int:
    sides = [side for one in report.columns for side in (one.then, one.now) if side is not None]
    for group in report.groups:
        for answers in (group.then, group.now):
            sides += [] if answers is None else list(answers.outputs.values())
    return COLUMN_BYTES + sum(map(_bytes, sides))


def _bytes(side: Distribution) -> int:
    return COLUMN_BYTES + 8 * len(side.values) + CATEGORY_BYTES * len(side.categories)


REPORTS = Held()
"""Of this process."""
