"""An event-sourced audit log with signed provenance: emit, seal, replay, verify.

`import audit` is light: a name is loaded when it is first used, and what it needs (a database, a
data frame library) when it is first called. Everything public here is in `__all__`; the error tree
is drawn in `audit.errors`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from audit.errors import (
    Ambiguous,
    AuditError,
    Fenced,
    FormatError,
    InvalidInput,
    InvalidProof,
    InvalidSignature,
    LimitExceeded,
    NotFound,
    StoreBusy,
    StoreCorrupt,
    StoreMissing,
    Unavailable,
    UnknownKey,
    UnknownSchema,
    Unproven,
)

if TYPE_CHECKING:
    from audit.capture.context import context
    from audit.capture.emitter import Emitter
    from audit.capture.predictor import predictor
    from audit.capture.runs import model_run
    from audit.ledger import Ledger
    from audit.verify.bundle import verify_bundle
    from audit.verify.policy import Policy

__version__ = "0.1.0"

__all__ = [
    "Ambiguous",
    "AuditError",
    "Emitter",
    "Fenced",
    "FormatError",
    "InvalidInput",
    "InvalidProof",
    "InvalidSignature",
    "Ledger",
    "LimitExceeded",
    "NotFound",
    "Policy",
    "StoreBusy",
    "StoreCorrupt",
    "StoreMissing",
    "Unavailable",
    "UnknownKey",
    "UnknownSchema",
    "Unproven",
    "__version__",
    "context",
    "model_run",
    "predictor",
    "verify_bundle",
]

_HOME = {
    "Emitter": "audit.capture.emitter",
    "Ledger": "audit.ledger",
    "Policy": "audit.verify.policy",
    "context": "audit.capture.context",
    "model_run": "audit.capture.runs",
    "predictor": "audit.capture.predictor",
    "verify_bundle": "audit.verify.bundle",
}


def __getattr__(name: str) -> object:
    """Load a public name when it is first used (PEP 562), and keep it."""
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'audit' has no attribute {name!r}")
    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted({*globals(), *__all__})
