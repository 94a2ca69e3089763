"""The events and blobs of one run on their way out, and what becomes of them while none gets out.

While no emitter can be opened events are held back; at the end of the run they go out after all, or
into a gap file. An event that is too large goes out with less in it: digests of columns first.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

from audit.capture.pipeline import gaps
from audit.capture.pipeline.target import Target
from audit.errors import AuditError, InvalidInput, LimitExceeded, StoreCorrupt, Unavailable
from audit.event.times import format_time
from audit.event.values import fields_to_json, to_json
from audit.lineage.recorded.runs import ABORT, STARTED

OnUnavailable = Literal["continue", "raise"]
MAX_COLUMNS = 300
"""How many digests of columns one event lists, for all frames together."""
MAX_REASON_CHARS = 500
NOT_REACHED = (Unavailable, StoreCorrupt)
"""The log takes nothing now: the pipeline goes on without it, unless it was asked not to."""

_log = logging.getLogger("audit.capture")


class Outbox:
    """What one run sends. `missing`: what running it again will lack."""

    def __init__(
        self, target: Target, what: str, run_id: str, run_type: str, on_unavailable: OnUnavailable
    ) -> None:
        """`what`: the run in words."""
        if on_unavailable not in ("continue", "raise"):
            raise InvalidInput('on_unavailable is "continue" or "raise"')
        self.target = target
        self.missing: list[str] = []
        self._what = what
        self._run_id = run_id
        self._run_type = run_type
        self.raises = target.refuses = on_unavailable == "raise"
        self._held: list[dict[str, Any]] = []
        self._problem: str | None = None

    def emit(
        self, type_: str, data: dict[str, Any], entity_type: str, key: str, event_id: str
    ) -> None:
        """Emit, or hold back while no emitter can be opened. Raises InvalidInput, Unavailable."""
        if not self._held and self._reach():
            try:
                self._send(type_, data, entity_type, key, event_id)
                return
            except NOT_REACHED as error:
                self._refused(error)
        self._hold(type_, data, entity_type, key, event_id)

    def emit_or_hold(
        self, type_: str, data: dict[str, Any], entity_type: str, key: str, event_id: str
    ) -> None:
        """As `emit`; what the log does not take at all goes into a gap file, unless asked not to.

        So that it is not lost: the emitter may have been closed.
        """
        try:
            self.emit(type_, data, entity_type, key, event_id)
        except AuditError as error:
            if self.raises:
                raise
            self._refused(error)
            self._hold(type_, data, entity_type, key, event_id)

    def _hold(
        self, type_: str, data: dict[str, Any], entity_type: str, key: str, event_id: str
    ) -> None:
        self._held.append(
            {
                "event_id": event_id,
                "type": type_,
                "source": self.target.source or "app",
                "entity_type": entity_type,
                "entity_key": key,
                "valid_time": format_time(time.time_ns() // 1_000),
                "data": _as_json(data),
            }
        )

    def _send(
        self, type_: str, data: dict[str, Any], entity_type: str, key: str, event_id: str
    ) -> None:
        for smaller in (_as_it_is, _without_columns, _without_most):
            try:
                self.target.emitter.record(
                    type_,
                    smaller(data),
                    entity_type=entity_type,
                    entity_key=key,
                    event_id=event_id,
                )
                return
            except LimitExceeded:
                if smaller is _without_most:
                    raise

    def begun(self) -> None:
        """START is out: make sure of it where that was asked for; else bring in older gaps."""
        if self.raises:
            self.target.emitter.flush()
        elif not self._held:
            gaps.deliver(self.target.emitter)

    def release(self) -> None:
        """Send what was held back, if it can be sent now."""
        try:
            while self._held and self._reach():
                self.target.emitter.emit(self._held[0])
                del self._held[0]
        except AuditError as error:
            self._refused(error)

    def finish(self) -> None:
        """Seal what went out; write down what did not. Raises Unavailable where it was asked to."""
        if self._held:
            gaps.keep(self.target.bus, self._run_id, [self._aborted(one) for one in self._held])
            self.target.abandon()
            return
        try:
            self.target.finish()
        except NOT_REACHED as problem:
            if self.raises:
                raise
            _log.warning("%s waits in the spool: %s", self._what, problem)

    def keep(self, what: str, data: bytes | None) -> str | None:
        """Put something into the blob store. None: nothing to keep, or nowhere to."""
        if data is None:
            return None
        try:
            return self.target.blobs.put(data)
        except (*NOT_REACHED, LimitExceeded) as error:
            if self.raises:
                raise
            self.miss(f"{what} was not kept: {error}")
            return None

    def miss(self, what: str) -> None:
        """Note what running it again will lack."""
        _log.info("%s: %s", self._what, what)
        self.missing.append(what)

    def _reach(self) -> bool:
        try:
            self.target.emitter  # noqa: B018  # opens it
        except NOT_REACHED as error:
            self._refused(error)
            return False
        return True

    def _refused(self, error: AuditError) -> None:
        if self.raises:
            raise error
        if self._problem is None:
            _log.error("%s is not recorded now: %s", self._what, error)
        self._problem = str(error)

    def _aborted(self, event: dict[str, Any]) -> dict[str, Any]:
        """The event of a gap: nobody took down the run when it was, so it is not told as if."""
        data = event["data"]
        if event["type"] != self._run_type or data.get("status") == STARTED:
            return event
        why = f"not recorded: {self._problem}"[:MAX_REASON_CHARS]
        said = data.get("error")
        ended = f"{data['status']}{'' if said is None else f' ({said})'}"
        return {**event, "data": {**data, "status": ABORT, "error": f"{why}; it ended {ended}"}}


def compact(document: Mapping[str, Any]) -> str:
    """JSON in one line."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _as_json(data: Mapping[str, Any]) -> dict[str, Any]:
    """A record as the JSON form of its event has it."""
    plain: Callable[[Any], Any] = to_json
    return {
        name: fields_to_json(value) if isinstance(value, dict) else plain(value)
        for name, value in data.items()
    }


def _as_it_is(data: dict[str, Any]) -> dict[str, Any]:
    parts = [*data.get("inputs", ()), *data.get("outputs", ())]
    listed = sum(len(part.get("columns") or ()) for part in parts)
    return _without_columns(data) if listed > MAX_COLUMNS else data


def _without_columns(data: dict[str, Any]) -> dict[str, Any]:
    """An event has a limit: what the digest of the whole covers goes first."""
    out = dict(data)
    for side in ("inputs", "outputs"):
        if side in data:
            out[side] = [{**part, "columns": {}} for part in data[side]]
    return out


def _without_most(data: dict[str, Any]) -> dict[str, Any]:
    out = _without_columns(data)
    if "rerun" in out:
        missing = ["too large to be recorded: arguments, and what tests measured"]
        out["rerun"] = compact({"kind": "none", "missing": missing})
        out["tests"] = [{**test, "measured": {}} for test in out["tests"]]
    return out
