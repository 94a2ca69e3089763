"""A logged function: what one call describes before the model runs, and records after it.

Fast where calls are alike: the signature is bound only when there is more than one argument, and
plain values under the same names as last time are encoded once, without being described one by one.
"""

import functools
import inspect
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Generic, ParamSpec, TypeVar

from audit.capture.context import current
from audit.capture.pipeline.target import Target
from audit.capture.predicting import prediction_payload as wire
from audit.capture.predicting.prediction_call import (
    SERVED_ROLES,
    Beside,
    Call,
    Given,
    Settings,
    Shadows,
    is_flat,
    json_text,
    takes_one,
    without_origin,
)
from audit.capture.predicting.running import Running, member_names, role_inside, running
from audit.capture.predicting.statuses import current_statuses
from audit.errors import AuditError, RejectedInput
from audit.event.build import Built, new_event_id
from audit.event.envelope import Event
from audit.event.types import PREDICTION
from audit.event.values import key_text
from audit.lineage.again.runner import error_name, words_of
from audit.lineage.content.forms import Form
from audit.lineage.content.served import describe, describe_fields
from audit.lineage.recorded.models import ModelVersion
from audit.lineage.recorded.predictions import (
    ERROR_STATUS,
    OK_STATUS,
    PREDICTION_ENTITY,
    REJECTED_STATUS,
)
from audit.lineage.source.capsule import Capsule, Subject, capture
from audit.lineage.source.environment import environment
from audit.store import clock_us

MAX_ERROR_CHARS = 500

_PLAIN = frozenset((float, int, str, bool, type(None)))
_FLOAT = frozenset((float,))
MAX_KEPT = 1_000
"""Features whose names are kept for the next call."""

P = ParamSpec("P")
R = TypeVar("R")


class Predictor(Generic[P, R]):
    """A logged function. Call it like the function; safe for several threads."""

    __wrapped__: Callable[P, R]

    def __init__(
        self,
        function: Callable[P, R],
        model: ModelVersion,
        target: Target,
        settings: Settings,
    ) -> None:
        """Use `predictor`."""
        functools.update_wrapper(self, function)
        self.model = model
        self.target = target
        self.settings = settings
        self.shadows: Shadows | None = None
        # What a capsule takes of a logged function that another one calls: what runs, not the log.
        self.__audit_function__ = function
        self._function = function
        self._signature = inspect.signature(function)
        self._takes_one = takes_one(self._signature)
        self._members = member_names(model.members)
        self._last_id: ContextVar[str | None] = ContextVar("last_prediction_id", default=None)
        self._captured: tuple[Capsule, dict[str, str]] | None = None
        self._threshold = wire.threshold(settings.threshold)
        self._seed = wire.long(settings.seed)
        self._schema_hash, self._schemas = wire.schema()
        # What was made for the last call, and what it was made of.
        self._last_keys: tuple[tuple[str, ...], Form, wire.FloatFeatures | None] = ((), None, None)
        self._last_head: tuple[str, bool, Capsule | None, bytes] = ("", False, None, b"")
        self._last_text: tuple[str, Form, Capsule | None, bytes] = ("", None, None, b"")

    @property
    def last_id(self) -> str | None:
        """Id of the newest prediction made in this thread or task; None before the first."""
        return self._last_id.get()

    def flush(self, timeout: float | None = None) -> None:
        """Return when all predictions so far, and their shadows, are sealed; seconds."""
        if self.shadows is not None:
            self.shadows.wait(self, timeout)
        self.target.emitter.flush(timeout)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Answer, and record the answer."""
        call = self.begin(args, kwargs)
        token = running.set(call.running)
        begin_ns = time.perf_counter_ns()
        try:
            output = self._function(*args, **kwargs)
        except BaseException as error:
            self.failed(call, error, time.perf_counter_ns() - begin_ns)
            raise
        finally:
            running.reset(token)
        self.answered(call, output, time.perf_counter_ns() - begin_ns)
        return output

    def begin(self, args: Any, kwargs: Any, beside: Beside | None = None) -> Call:
        """Describe a call that is about to run.

        Raises InvalidInput for features that cannot be recorded, RejectedInput for those that are
        not as the model expects them; the latter is recorded.
        """
        call = Call()
        call.context = context = current()
        call.outer = outer = running.get()
        call.beside = beside
        settings = self.settings
        if beside is None:
            # The clock that every context has, whichever emitter it is: so that models beside each
            # other have the same time.
            call.request_us = clock_us() if context.request_us is None else context.request_us
            call.statuses = current_statuses()
            call.role = role_inside(settings.role, self.model, outer)
        else:
            call.request_us, call.statuses, call.role = beside.request_us, beside.statuses, "SHADOW"
        arguments, features = self._features(args, kwargs)
        call.given = given = self.describe(arguments, features)
        if beside is not None and beside.sets:
            call.given = given = given._replace(sets=beside.sets)
        call.key = self.key_of(features)
        call.capsule, call.environment = self._code()
        call.running = Running(call.role, self._members)
        self.check(call)
        return call

    def check(self, call: Call) -> None:
        """Record and refuse an input that is not as expected. Raises RejectedInput."""
        expects = self.settings.expects
        if expects is not None:
            violations = expects.violations(call.given.fields)
            if violations:
                self.reject(call, violations)

    def _features(self, args: Any, kwargs: Any) -> tuple[str, Any]:
        """How the function is called, and its one argument, or all of them by name."""
        if self._takes_one and len(args) == 1 and not kwargs:
            return "one", args[0]
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError:
            # The function itself says best what is wrong with the call; nothing was predicted.
            self._function(*args, **kwargs)
            raise
        if self._takes_one and bound.arguments:
            return "one", next(iter(bound.arguments.values()))
        return "many", dict(bound.arguments)

    def describe(self, arguments: str, features: Any) -> Given:
        """The features, described exactly. Raises InvalidInput."""
        if type(features) is dict and arguments == "one":
            last_keys, form, floats = self._last_keys
            if tuple(features) == last_keys:
                # The names were looked at last time; plain values say it all.
                values = features.values()
                fields = features if self.shadows is None else dict(features)
                if floats is not None and _FLOAT.issuperset(map(type, values)):
                    return Given(arguments, fields, form, floats.encode(values))
                if _PLAIN.issuperset(map(type, values)):
                    return Given(arguments, fields, form, wire.features(features))
        sets: list[dict[str, Any]] = []
        plain = without_origin(features, sets)
        if arguments == "many":
            plain = {name: without_origin(value, sets) for name, value in plain.items()}
        fields, form = describe_fields(plain)
        is_kept = arguments == "one" and type(plain) is dict and 0 < len(plain) <= MAX_KEPT
        if is_kept and is_flat(form):
            self._last_keys = tuple(plain), form, wire.FloatFeatures(tuple(plain))
        return Given(arguments, fields, form, wire.features(fields), tuple(sets))

    def key_of(self, features: Any) -> str | None:
        """What a prediction with these features is about; None: only itself."""
        key = self.settings.key
        if key is None:
            return None
        if callable(key):
            found = key(features)
        else:
            try:
                found = features[key]
            except (KeyError, IndexError, TypeError):
                return None
            if type(found).__module__.startswith("pandas") and type(found).__name__ == "Series":
                found = found.iloc[0] if len(found) == 1 else None
        return self.key_text(found)

    @staticmethod
    def key_text(found: Any) -> str | None:
        """What was found as a key, as text. Raises InvalidInput."""
        if type(found) is str:
            return key_text(found)
        plain = describe(found).value
        return None if plain is None else key_text(plain)

    def _code(self) -> tuple[Capsule, dict[str, str]]:
        """The capsule of the code as it is now, and what it runs on.

        Several threads may make it at once: they make the same one.
        """
        captured = self._captured
        if captured is None or not captured[0].is_current():
            capsule = capture(self._function, Subject(self.model.object, self.model, self))
            # Kept before the first prediction that names them: a record never names code that
            # nobody has.
            for data in (*capsule.blobs.values(), capsule.document):
                self.target.blobs.put(data)
            captured = self._captured = capsule, environment(capsule.modules)
        return captured

    def answered(self, call: Call, output: Any, latency_ns: int) -> None:
        """Record an answer, and let the shadows run. Raises AuditError: then it is not given."""
        try:
            kind = type(output)
            # describe says the same of these, but slower; text may hold what UTF-8 cannot spell.
            value, form = (output, None) if kind is float or kind is bool else describe(output)
            latency_us = latency_ns // 1_000
            call_text = self.call_text(call, form)
            prediction_id = self.emit(call, wire.Outcome(OK_STATUS, value, latency_us, call_text))
        except AuditError as error:
            self.failed(call, error, latency_ns, with_shadows=False)
            raise
        self._run_shadows(call, prediction_id)

    def failed(
        self,
        call: Call,
        error: BaseException,
        latency_ns: int,
        with_shadows: bool = True,
        batch: dict[str, Any] | None = None,
    ) -> None:
        """Record a failure; when that fails too, the first error still is the one that passes."""
        text = f"{error_name(error)}: {words_of(error)[:MAX_ERROR_CHARS]}"
        try:
            call_text = self.call_text(call, None)
            outcome = wire.Outcome(ERROR_STATUS, None, latency_ns // 1_000, call_text, text)
            prediction_id = self.emit(call, outcome, batch)
        except AuditError as problem:
            error.add_note(f"and the failed prediction could not be recorded: {problem}")
            return
        if with_shadows and isinstance(error, Exception):
            self._run_shadows(call, prediction_id)

    def reject(
        self, call: Call, violations: list[str], batch: dict[str, Any] | None = None
    ) -> None:
        """Record that the input is not as expected, and raise RejectedInput."""
        listed = "; ".join(violations)
        error = RejectedInput(f"the input is not as {self.model.ref} expects it: {listed:.400}")
        try:
            outcome = wire.Outcome(
                REJECTED_STATUS, None, None, self.call_text(call, None), None, violations
            )
            self.emit(call, outcome, batch)
        except AuditError as problem:
            error.add_note(f"and that could not be recorded: {problem}")
        raise error

    def call_text(self, call: Call, output_form: Form) -> bytes:
        """The field `call`, encoded."""
        given, capsule = call.given, call.capsule
        arguments, form, last_capsule, text = self._last_text
        # By identity: forms that are equal to Python may still differ in JSON (1, 1.0 and True).
        if (
            form is given.form
            and last_capsule is capsule
            and arguments == given.arguments
            and output_form is None
        ):
            return text
        text = wire.text(
            json_text(
                {
                    "arguments": given.arguments,
                    "features": given.form,
                    "output": output_form,
                    "format": self.model.format,
                    "environment": call.environment,
                }
            )
        )
        if output_form is None:
            self._last_text = given.arguments, given.form, capsule, text
        return text

    def emit(self, call: Call, outcome: wire.Outcome, batch: dict[str, Any] | None = None) -> str:
        """Emit the event of a call; its id. Raises AuditError when it is not safe."""
        model, given, context, inside = self.model, call.given, call.context, call.running
        served = call.role in SERVED_ROLES and outcome.status == OK_STATUS
        role, capsule = call.role, call.capsule
        last_role, last_served, last_capsule, head = self._last_head
        if last_role != role or last_served is not served or last_capsule is not capsule:
            head = wire.head(role, served, model.name, model.version, model.digest, capsule.digest)
            self._last_head = role, served, capsule, head
        before = b"".join(
            (
                wire.text(context.request_id),
                wire.long(call.request_us),
                head,
                given.encoded,
                wire.origins(call.statuses, given.sets),
            )
        )
        primary = None if call.beside is None else call.beside.primary
        links = wire.Links(inside.parents, inside.members, primary)
        payload = wire.payload(
            before,
            outcome,
            self._threshold,
            self._seed,
            links,
            wire.batch(batch),
        )
        emitter = self.target.emitter
        prediction_id = new_event_id()
        valid_us = context.valid_time_us
        event = Event(
            prediction_id,
            PREDICTION,
            emitter.source,
            PREDICTION_ENTITY,
            prediction_id if call.key is None else call.key,
            emitter.clock() if valid_us is None else valid_us,
            context.actor,
            context.reason,
            context.transaction,
            None,
            context.request_id,
            context.trace_id,
            self._schema_hash,
            payload,
        )
        emitter.send(Built(event, self._schemas))
        self._last_id.set(prediction_id)
        if call.outer is not None:
            call.outer.add(prediction_id, model)
        return prediction_id

    def _run_shadows(self, call: Call, prediction_id: str) -> None:
        if self.shadows is None or call.beside is not None:  # a shadow has none of its own
            return
        beside = Beside(prediction_id, call.request_us, call.statuses, call.given.sets)
        self.shadows.run(self, call.given, beside)
