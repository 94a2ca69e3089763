"""Points at which a test lets this process die as in a power cut; off unless AUDIT_FAILPOINT.

`AUDIT_FAILPOINT=name[:count]` kills the process with SIGKILL when it gets to that point for the
count-th time (default 1). The points lie between every two steps of the write order.
"""

import os
import signal
from typing import Final

from audit.errors import InvalidInput
from audit.tlog.keys import Signer, Verifier

VARIABLE = "AUDIT_FAILPOINT"

AFTER_POLL: Final = "after-poll"
AFTER_LOG_OPENED: Final = "after-log-opened"
AFTER_LOG_ADDED: Final = "after-log-added"
AFTER_CLAIM: Final = "after-claim"
BEFORE_APPEND: Final = "before-append"
IN_TRANSACTION: Final = "in-transaction"
AFTER_COMMIT: Final = "after-commit"
BEFORE_PUBLISH: Final = "before-publish"
AFTER_PUBLISH: Final = "after-publish"
AFTER_OFFSET_COMMIT: Final = "after-offset-commit"

POINTS = (
    *(AFTER_POLL, AFTER_LOG_OPENED, AFTER_LOG_ADDED, AFTER_CLAIM, BEFORE_APPEND, IN_TRANSACTION),
    *(AFTER_COMMIT, BEFORE_PUBLISH, AFTER_PUBLISH, AFTER_OFFSET_COMMIT),
)

_name, _, _count = os.environ.get(VARIABLE, "").partition(":")
_left = {_name: int(_count) if _count.isdecimal() else 1} if _name else {}


def check() -> None:
    """Refuse a point that there is not: a test of it would pass by never dying."""
    if _name and (_name not in POINTS or not (_count.isdecimal() or not _count)):
        raise InvalidInput(f"{VARIABLE} is NAME or NAME:COUNT, with NAME of {', '.join(POINTS)}")


def reach(name: str) -> None:
    """Die here if the environment says so."""
    if name not in _left:
        return
    _left[name] -= 1
    if _left[name] == 0:
        os.kill(os.getpid(), signal.SIGKILL)


def dying(signer: Signer) -> Signer:
    """The signer; with the point `in-transaction` one that dies when it is asked to sign.

    A store signs in the middle of its transaction, after the entries and before the commit.
    """
    return _DyingSigner(signer) if IN_TRANSACTION in _left else signer


class _DyingSigner:
    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    @property
    def name(self) -> str:
        return self._signer.name

    @property
    def verifier(self) -> Verifier:
        return self._signer.verifier

    def sign(self, message: bytes) -> bytes:
        reach(IN_TRANSACTION)
        return self._signer.sign(message)
