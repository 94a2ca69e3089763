"""Saying that features were not simply given, apart from their values."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from audit.capture.predicting.running import running
from audit.errors import InvalidInput
from audit.event.values import normalize_fields
from audit.lineage.recorded.predictions import FEATURE_STATUSES

_NONE: tuple[dict[str, str], object] = ({}, None)
_said: ContextVar[tuple[dict[str, str], object]] = ContextVar("feature_statuses", default=_NONE)


@contextmanager
def statuses(features: Mapping[str, str]) -> Iterator[None]:
    """Predictions made in the block had these features defaulted, imputed, stale and so on.

    ``with audit.statuses({"amount": "IMPUTED"}): score(features)``: so a zero that was measured is
    told from one that stands for a missing measurement. A status is MISSING, DEFAULTED, IMPUTED,
    STALE, REDACTED or OUT_OF_RANGE; a MISSING feature need not be among the values. It holds for
    the predictors that the block calls, not for those that they call. Inner blocks replace outer
    ones. Raises InvalidInput.
    """
    checked = {name: _checked(name, value) for name, value in normalize_fields(features).items()}
    token = _said.set((checked, running.get()))
    try:
        yield
    finally:
        _said.reset(token)


def _checked(name: str, status: object) -> str:
    if not isinstance(status, str) or status not in FEATURE_STATUSES:
        listed = ", ".join(FEATURE_STATUSES)
        raise InvalidInput(f"the status of feature {name!r:.80} is one of {listed}")
    return status


def current_statuses() -> dict[str, str]:
    """What holds for a prediction that begins now."""
    said, inside = _said.get()
    return said if said and inside is running.get() else {}
