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
    FailedTest,
    Fenced,
    FormatError,
    InvalidInput,
    InvalidProof,
    InvalidSignature,
    LimitExceeded,
    NotFound,
    RejectedInput,
    StoreBusy,
    StoreCorrupt,
    StoreMissing,
    Unavailable,
    UnknownKey,
    UnknownSchema,
    Unproven,
    UnseenWrite,
)

if TYPE_CHECKING:
    from audit.capture.asgi import AsgiMiddleware
    from audit.capture.audited import audited
    from audit.capture.context import context
    from audit.capture.emitter import Emitter
    from audit.capture.pipeline import quality
    from audit.capture.pipeline.component import component
    from audit.capture.pipeline.declare import dataset_version, ground_truth, review, transition
    from audit.capture.pipeline.features import features
    from audit.capture.pipeline.mlflow_run import mlflow_run
    from audit.capture.pipeline.runs import model_run
    from audit.capture.pipeline.unrecorded import current_run
    from audit.capture.predicting.predictor import predictor
    from audit.capture.predicting.statuses import statuses
    from audit.capture.request import identify
    from audit.capture.wsgi import WsgiMiddleware
    from audit.ledger import Ledger
    from audit.verify.bundle import verify_bundle
    from audit.verify.policy import Policy

__version__ = "0.1.0"

__all__ = [
    "Ambiguous",
    "AsgiMiddleware",
    "AuditError",
    "Emitter",
    "FailedTest",
    "Fenced",
    "FormatError",
    "InvalidInput",
    "InvalidProof",
    "InvalidSignature",
    "Ledger",
    "LimitExceeded",
    "NotFound",
    "Policy",
    "RejectedInput",
    "StoreBusy",
    "StoreCorrupt",
    "StoreMissing",
    "Unavailable",
    "UnknownKey",
    "UnknownSchema",
    "Unproven",
    "UnseenWrite",
    "WsgiMiddleware",
    "__version__",
    "audited",
    "component",
    "context",
    "current_run",
    "dataset_version",
    "features",
    "ground_truth",
    "identify",
    "mlflow_run",
    "model_run",
    "predictor",
    "quality",
    "review",
    "statuses",
    "transition",
    "verify_bundle",
]

_HOME = {
    "AsgiMiddleware": "audit.capture.asgi",
    "Emitter": "audit.capture.emitter",
    "Ledger": "audit.ledger",
    "Policy": "audit.verify.policy",
    "WsgiMiddleware": "audit.capture.wsgi",
    "audited": "audit.capture.audited",
    "component": "audit.capture.pipeline.component",
    "context": "audit.capture.context",
    "current_run": "audit.capture.pipeline.unrecorded",
    "dataset_version": "audit.capture.pipeline.declare",
    "features": "audit.capture.pipeline.features",
    "ground_truth": "audit.capture.pipeline.declare",
    "identify": "audit.capture.request",
    "mlflow_run": "audit.capture.pipeline.mlflow_run",
    "model_run": "audit.capture.pipeline.runs",
    "predictor": "audit.capture.predicting.predictor",
    "review": "audit.capture.pipeline.declare",
    "statuses": "audit.capture.predicting.statuses",
    "transition": "audit.capture.pipeline.declare",
    "verify_bundle": "audit.verify.bundle",
}

_MODULES = {"quality": "audit.capture.pipeline.quality"}


def __getattr__(name: str) -> object:
    """Load a public name when it is first used (PEP 562), and keep it."""
    home = _HOME.get(name)
    if home is None and name in _MODULES:
        module = globals()[name] = import_module(_MODULES[name])
        return module
    if home is None:
        raise AttributeError(f"module 'audit' has no attribute {name!r}")
    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted({*globals(), *__all__})
