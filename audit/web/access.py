"""Every look at recorded data, as an event in a ledger of its own: who looked at what, when.

The ledger that is shown stays as it is: looking must not move its head, and the view's connection
could not write to it. So looks go to `audit.access.db` beside it, or where `--access` says; they
are rows of the dataset `access`, and a ledger of looks is read with the same commands:

    audit log entity:access actor:alice --store sqlite:///audit.access.db
"""

import time
from typing import TYPE_CHECKING

from audit.errors import AuditError, Unavailable
from audit.ledger.open import BUNDLE_SCHEME, store_file
from audit.web.answer import Asked
from audit.web.options import WebOptions
from audit.web.pinned import pin_text
from audit.web.recorder import Recorder

if TYPE_CHECKING:
    from audit.capture.emitter import Emitter

ENTITY = "access"
SOURCE = "audit.web"
NOT_KEPT = "none"
"""What `--access` takes for: write no access events."""
DEFAULT_NAME = "audit.access.db"


class Access:
    """Writes access events. When a look is answered its event is in the emitter's spool, which
    keeps it while its ledger is away. Where that cannot be done soon the server's log says so, and
    the look is answered all the same, or refused with `access_required`.
    """

    def __init__(self, options: WebOptions) -> None:
        """Opens the ledger of looks. Raises InvalidInput, Unavailable."""
        destination = destination_of(options)
        emitter = None if destination is None else _emitter(destination)
        self._recorder = None if emitter is None else Recorder(emitter, ENTITY, time.monotonic)
        self._required = options.access_required

    def note(self, who: str, path: str, asked: Asked) -> None:
        """One look: who, at which page, with which parameters, at which sizes of the logs.

        Raises Unavailable for one that is refused.
        """
        self.record(who, path, {**asked.parameters}, pin_text(asked.cut))

    def record(self, who: str, path: str, parameters: dict[str, str], pin: str) -> None:
        """The same, for what is no screen."""
        if self._recorder is None:
            return
        said = {"path": path, "parameters": dict(parameters), "pin": pin, "who": who}
        if not self._recorder.record(who, said) and self._required:
            raise Unavailable("looks are recorded here, and this one cannot be; ask again later")

    def close(self) -> None:
        """Wait until all is sealed, for a while. Safe to repeat."""
        if self._recorder is not None:
            self._recorder.close()
            self._recorder = None


def _emitter(destination: str) -> "Emitter":
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
