"""One emitter for each address in this process, opened by whoever needs it first.

Many decorated functions write to one place; a spool and a thread for each would be a waste. They
stay open until the process ends, and are flushed then.
"""

import os
import threading

from audit.capture.emitter import Emitter
from audit.capture.pipeline.target import default_bus

_emitters: dict[tuple[str, str | None], Emitter] = {}
_opening = threading.Lock()


def shared_emitter(bus: str | None = None, source: str | None = None) -> Emitter:
    """The process's emitter for a bus, by default the one that AUDIT_BUS names, and a source.

    Nobody closes it. Opening it raises InvalidInput, Unavailable, StoreCorrupt.
    """
    wanted = (bus or default_bus(), source)
    emitter = _emitters.get(wanted)
    if emitter is None:
        with _opening:
            emitter = _emitters.get(wanted)
            if emitter is None:
                emitter = _emitters[wanted] = Emitter(*wanted)
    return emitter


def _after_fork_in_child() -> None:
    """The thread that held the lock is not in this process."""
    global _opening
    _opening = threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)
