"""The facade `audit.Ledger`: every question to one ledger, put together from the floors below."""

from audit.ledger.facade import Ledger

__all__ = ["Ledger"]
