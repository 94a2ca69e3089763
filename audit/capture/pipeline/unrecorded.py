"""The run that is going on here; outside of any, one that nothing is recorded of.

Light: a process that runs recorded code again loads this, and nothing that records.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from audit.errors import InvalidInput
from audit.event.values import normalize, normalize_fields

if TYPE_CHECKING:
    from audit.capture.pipeline.run_record import RunRecorder


class Unrecorded:
    """Stands for the run where nothing is recorded: it takes all of it, and emits nothing."""

    def __init__(self) -> None:
        self.run_id: str | None = None
        self.params: dict[str, Any] = {}
        self.metrics: dict[str, float] = {}
        self.models: list[Any] = []

    def param(self, name: str, value: Any) -> None:
        """See `RunRecorder.param`."""
        self.params.update(normalize_fields({name: value}))

    def metric(self, name: str, value: float) -> None:
        """See `RunRecorder.metric`."""
        self.metrics.update(checked_metric(name, value))

    def input(self, data: Any, name: str | None = None, *, keep: bool | None = None) -> str:
        """Nothing is read for it: the digest is empty."""
        return ""

    def output(self, data: Any, name: str | None = None, *, keep: bool | None = None) -> str:
        """Nothing is read for it: the digest is empty."""
        return ""

    def feature(self, definition: Any) -> None:
        """Nothing is noted."""

    def model(
        self, model: Any, version: str | None = None, name: str | None = None, **options: Any
    ) -> Any:
        """Notes the model itself in `models`, and hands it back."""
        self.models.append(model)
        return model


def checked_metric(name: str, value: Any) -> dict[str, float]:
    """A metric by name. Raises InvalidInput for what is no number."""
    number = normalize(value)
    if type(number) is int:
        number = float(number)
    if type(number) is not float:
        raise InvalidInput(f"metric {name!r:.80} is a number, not {type(value).__name__}")
    return {str(key): number for key in normalize_fields({name: number})}


going_on: ContextVar["RunRecorder | Unrecorded | None"] = ContextVar("audit_run", default=None)
"""None: outside of any run."""


def current_run() -> "RunRecorder | Unrecorded":
    """The run that is going on here: add ``.param .metric .input .output .model`` to it.

    Outside of any run it is one that records nothing, so that code works there as well.
    """
    return going_on.get() or Unrecorded()


@contextmanager
def running(run: Unrecorded) -> Iterator[Unrecorded]:
    """Let `current_run` give this one inside the block."""
    token = going_on.set(run)
    try:
        yield run
    finally:
        going_on.reset(token)
