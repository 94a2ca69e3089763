"""How events are made: context, emitter and its spool, the embedded ledger's writer, import."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from audit.capture.delivery.waiting import SpoolFile, backlogs

__all__ = ["SpoolFile", "backlogs"]


def __getattr__(name: str) -> object:
    """Load a public name when it is first used: what is below this package seldom needs them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from audit.capture.delivery import waiting

    value: object = getattr(waiting, name)
    globals()[name] = value
    return value
