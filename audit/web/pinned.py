"""Permalinks: a point of all logs as text, which gives the same answer whatever is recorded later.

0:1042,1:77    log 0 up to size 1042, log 1 up to size 77, every other log empty
"""

import re

from audit.errors import InvalidInput, LimitExceeded
from audit.replay.points import MAX_INDEX, Cut
from audit.store.contract import Reader

MAX_PIN_CHARS = 8_192
"""Longest text of sizes that is read: some hundred logs."""

_SIZE = re.compile(r"(0|[1-9][0-9]{0,18}):(0|[1-9][0-9]{0,18})")


def pin_text(cut: Cut) -> str:
    """The sizes of a cut as text."""
    return ",".join(f"{log}:{size}" for log, size in sorted(cut.sizes.items()))


def pinned(reader: Reader, text: str) -> Cut:
    """The cut that a text names. Raises InvalidInput for one that is none, or beyond the logs."""
    if len(text) > MAX_PIN_CHARS:
        raise LimitExceeded(f"pin is over {MAX_PIN_CHARS} characters")
    sizes: dict[int, int] = {}
    for part in text.split(","):
        found = _SIZE.fullmatch(part)
        if found is None or int(found[1]) in sizes:
            raise InvalidInput(f"pin has the form 0:1042,1:77, each log once; not {part[:40]!r}")
        sizes[int(found[1])] = min(int(found[2]), MAX_INDEX)
    held = {info.log: reader.size(info.log) for info in reader.logs()}
    for log, size in sizes.items():
        if log not in held:
            raise InvalidInput(f"pin names log {log}, which this ledger does not have")
        if size > held[log]:
            raise InvalidInput(f"pin names size {size:,} of log {log}, which has {held[log]:,}")
    return Cut({log: sizes.get(log, 0) for log in held}, None, (), False, text, None)
