"""A verification that is started by a button and watched: one at a time, on a thread of its own."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from audit.errors import AuditError
from audit.ledger import Ledger
from audit.web.access import Access
from audit.web.guard.asgi import name_of_visitor
from audit.web.options import WebOptions

SEE_OTHER = 303
MAX_FINDINGS = 1_000
"""Findings of one run that are kept to be shown; how many there are is always said."""

_log = logging.getLogger("audit.web")


class Verifying:
    """The newest run of `audit verify` over the whole ledger."""

    def __init__(self, options: WebOptions) -> None:
        """Nothing runs yet."""
        self._options = options
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._state: dict[str, Any] = {"state": "never run"}

    def start(self, who: str) -> bool:
        """Begin a run; False when one is under way."""
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return False
            self._state = {"state": "running", "done": 0, "of": None, "started_by": who}
            self._thread = threading.Thread(target=self._run, args=(who,), daemon=True)
            self._thread.start()
        return True

    def state(self) -> dict[str, Any]:
        """How far it is, or what it found: plain values that JSON can hold."""
        with self._lock:
            return dict(self._state)

    def _tell(self, done: int, of: int | None = None) -> None:
        with self._lock:
            self._state.update(done=done, of=of)

    def _run(self, who: str) -> None:
        begun = time.monotonic()
        try:
            with Ledger(self._options.store, read_model="off") as ledger:
                policy = ledger.policy_file(self._options.policy)
                report = ledger.verify(policy, progress=self._tell).to_json()
            found: dict[str, Any] = {"state": "done", "report": _bounded(report)}
        except AuditError as error:
            found = {"state": "failed", "error": str(error)}
        except Exception:  # else the page would say "running" for ever
            _log.exception("the verification ended by a bug")
            found = {"state": "failed", "error": "a bug in this server; its log has it"}
        found.update(started_by=who, seconds=round(time.monotonic() - begun, 3))
        with self._lock:
            self._state = found


def _bounded(report: dict[str, Any]) -> dict[str, Any]:
    findings = report.get("findings", [])
    return {**report, "findings": findings[:MAX_FINDINGS], "findings_in_all": len(findings)}


def add_verifying(
    app: FastAPI,
    verifying: Verifying,
    access: Access,
    failed: Callable[[Request, Exception], Response],
) -> None:
    """Add the button; what it leads to is a screen. `failed` makes the page of an error."""

    def start(request: Request) -> Response:
        who = name_of_visitor(request.scope)
        try:
            access.record(who, "/verify/run", {}, "")
            verifying.start(who)
        except AuditError as error:
            return failed(request, error)
        return RedirectResponse("/verify", SEE_OTHER)

    app.add_api_route("/verify/run", start, methods=["POST"], include_in_schema=False)
