"""What must happen to emitters when their process forks or ends.

A forked child shares the parent's spool file and its lock but not the thread that seals: there an
emitter begins anew, with a spool and a producer id of its own, at its next event. At the end of the
process what is put is flushed; an emitter that nobody holds any more delivers what it has and ends.
"""

import atexit
import contextlib
import logging
import os
import threading
import weakref
from typing import Protocol

from audit.capture.delivery import leftover
from audit.capture.delivery.sealer import Sealer
from audit.errors import AuditError

EXIT_FLUSH_S = 70.0
"""How long the end of a process waits for events to be sealed: a little longer than the store waits
for its lock. What is not sealed then stays in the spool. A broker is waited for less long."""

_log = logging.getLogger("audit.capture")


class _Emitter(Protocol):
    """What is asked of an emitter here."""

    def _forked(self) -> None: ...


_sealers: "weakref.WeakSet[Sealer]" = weakref.WeakSet()
_emitters: "weakref.WeakSet[_Emitter]" = weakref.WeakSet()
_held: list[Sealer] = []
_forking = threading.Lock()


def watch(emitter: _Emitter, sealer: Sealer) -> None:
    """Take care of an emitter and the sealer it uses now."""
    _sealers.add(sealer)
    _emitters.add(emitter)
    weakref.finalize(emitter, sealer.retire).atexit = False


def forget(sealer: Sealer) -> None:
    """The sealer is closed by its emitter."""
    _sealers.discard(sealer)


def _at_exit() -> None:
    for sealer in list(_sealers):
        try:
            sealer.close(sealer.close_s or EXIT_FLUSH_S)
        except AuditError as error:
            _log.error("%s", error)


def _before_fork() -> None:
    _forking.acquire()
    _held.extend(_sealers)
    for sealer in _held:
        with contextlib.suppress(AuditError):
            sealer.before_fork()


def _after_fork_in_parent() -> None:
    for sealer in _held:
        sealer.after_fork_in_parent()
    _held.clear()
    _forking.release()


def _after_fork_in_child() -> None:
    for sealer in _held:
        sealer.after_fork_in_child()
    leftover.abandon()
    _held.clear()
    _sealers.clear()
    for emitter in list(_emitters):
        emitter._forked()
    _forking.release()


atexit.register(_at_exit)
os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)
