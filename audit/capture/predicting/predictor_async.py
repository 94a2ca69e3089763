"""Logged coroutine functions: awaited like the function, recorded when the answer is there.

The code is captured, and blobs are written, in the event loop before the first answer; after that a
call costs the loop what a plain one costs. A task that is cancelled leaves a failed prediction.
"""

import inspect
import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from audit.capture.pipeline.target import Target
from audit.capture.predicting.logged import Predictor
from audit.capture.predicting.prediction_call import Settings
from audit.capture.predicting.running import running
from audit.lineage.recorded.models import ModelVersion

P = ParamSpec("P")
R = TypeVar("R")


class AsyncPredictor(Predictor[P, R]):
    """A logged coroutine function. `R` is the coroutine that a call returns."""

    def __init__(
        self,
        function: Callable[P, R],
        model: ModelVersion,
        target: Target,
        settings: Settings,
    ) -> None:
        """Use `predictor`."""
        super().__init__(function, model, target, settings)
        mark = getattr(inspect, "markcoroutinefunction", None)  # from Python 3.12 on
        if mark is not None:
            mark(self)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """A coroutine that answers, and records the answer."""
        return cast("R", self._answer(args, kwargs))

    async def _answer(self, args: Any, kwargs: Any) -> Any:
        call = self.begin(args, kwargs)
        function = cast("Callable[..., Any]", self._function)
        token = running.set(call.running)
        begin_ns = time.perf_counter_ns()
        try:
            output = await function(*args, **kwargs)
        except BaseException as error:
            self.failed(call, error, time.perf_counter_ns() - begin_ns)
            raise
        finally:
            running.reset(token)
        self.answered(call, output, time.perf_counter_ns() - begin_ns)
        return output
