"""Producers' signatures where they are required: `audit.capture.delivery.producers`.

Policy file and log 0 are looked at again while it runs: a key that was revoked is refused within a
second, without a restart. What cannot be read leaves the keys as they were, with an alarm.
"""

from pathlib import Path

from audit.capture.delivery.producers import LOOK_EVERY_S, REQUIRED_REASON
from audit.capture.delivery.producers import PinnedProducers as _PinnedProducers
from audit.errors import AuditError
from consumers.logs import alarm, info

__all__ = ["LOOK_EVERY_S", "REQUIRED_REASON", "PinnedProducers"]


class PinnedProducers(_PinnedProducers):
    """The same, with a consumer's lines of log."""

    def _alarm(self, text: str, why: AuditError) -> None:
        """Say what somebody has to look at."""
        alarm(text, why=why)

    def _told(self, text: str, file: Path) -> None:
        """Say what an operator may want to know."""
        info(text, file=file)
