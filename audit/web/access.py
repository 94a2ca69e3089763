"""Every look at recorded data, as an event in a ledger of its own: who looked at what, when.

The ledger that is shown stays as it is: looking must not move its head, and the view's connection
could not write to it. So looks go to `audit.access.db` beside it, or where `--access` says; they
are rows of the dataset `access`, and a ledger of looks is read with the same commands:

    audit log entity:access actor:alice --store sqlite:///audit.access.db
"""

import logging
from typing import TYPE_CHECKING
from uuid import uuid4

from audit.errors import AuditError
from audit.ledger.open import BUNDLE_SCHEME, store_file
from audit.web.answer import Asked
from audit.web.options import WebOptions
from audit.web.pinned import pin_text

if TYPE_CHECKING:
    from audit.capture.emitter import Emitter

ENTITY = "access"
SOURCE = "audit.web"
NOT_KEPT = "none"
"""What `--access` takes for: write no access events."""
DEFAULT_NAME = "audit.access.db"

_log = logging.getLogger("audit.web.access")


class Access:
    """Writes access events. A look is not refused because its event cannot be written: it is said
    in the server's log, and the emitter's spool keeps the event while its ledger is away.
    """

    def __init__(self, options: WebOptions) -> None:
        """Opens the ledger of looks. Raises InvalidInput, Unavailable."""
        destination = destination_of(options)
        self._emitter = None if destination is None else _emitter(destination)

    def note(self, who: str, path: str, asked: Asked) -> None:
        """One look: who, at which page, with which parameters, at which sizes of the logs."""
        self.record(who, path, {**asked.parameters}, pin_text(asked.cut))

    def record(self, who: str, path: str, parameters: dict[str, str], pin: str) -> None:
        """The same, for what is no screen."""
        if self._emitter is None:
            return
        from audit.capture.context import context

        said = {"path": path, "parameters": dict(parameters), "pin": pin, "who": who}
        try:
            with context(actor=who or "unknown"):
                self._emitter.create(ENTITY, str(uuid4()), said)
        except AuditError as error:
            _log.error("an access event could not be written: %s", error)

    def close(self) -> None:
        """Wait until all is sealed. Safe to repeat."""
        if self._emitter is not None:
            self._emitter.close()
            self._emitter = None


def _emitter(destination: str) -> "Emitter | None":
    from audit.capture.emitter import Emitter

    try:
        return Emitter(destination, source=SOURCE)
    except AuditError as error:
        hint = "--access names another place for access events, or says none"
        raise type(error)(f"{error}\n{hint}") from None


def destination_of(options: WebOptions) -> str | None:
    """Where access events go; None: nowhere."""
    if options.access == NOT_KEPT:
        return None
    if options.access is not None:
        return options.access
    if options.store.startswith(BUNDLE_SCHEME):
        return None
    file = store_file(options.store)
    return f"sqlite:///{DEFAULT_NAME if file is None else file.with_name(DEFAULT_NAME)}"
