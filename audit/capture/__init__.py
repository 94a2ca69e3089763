"""How events are made: context, emitter and its spool, the embedded ledger's writer, import."""

from audit.capture.delivery.waiting import SpoolFile, backlogs

__all__ = ["SpoolFile", "backlogs"]
