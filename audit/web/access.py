"""Every look at recorded data, as an event in a ledger of its own: who looked at what, when.

The ledger that is shown stays as it is: looking must not move its head, and the view's connection
could not write to it. So looks go to `audit.access.db` beside it, or where `--access` says; they
are rows of the dataset `access`, and a ledger of looks is read with the same commands:

    audit log entity:access actor:alice --store sqlite:///audit.access.db
"""

import time
from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING

from audit.errors import AuditError, Unavailable
from audit.ledger.open import BUNDLE_SCHEME, store_file
from audit.web.options import WebOptions
from audit.web.recorder import Recorder

if TYPE_CHECKING:
    from audit.capture.emitter import Emitter

ENTITY = "access"
SOURCE = "audit.web"
MAX_SAID_CHARS = 2_000
"""Of one parameter of a look. The whole address is up to 32 kB, which might be more than a row
takes: an event could be refused, and the look would leave no trace."""
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

    def record(self, who: str, path: str, parameters: Mapping[str, str], pin: str) -> None:
        """One look: who, at which page, with which parameters, at which sizes of the logs (empty:
        they do not matter, or there was no such point).

        Raises Unavailable for one that is refused.
        """
        if self._recorder is None:
            return
        kept = {name: _bounded(value) for name, value in parameters.items()}
        said = {"path": path, "parameters": kept, "pin": _bounded(pin), "who": who}
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


def _bounded(text: str) -> str:
    """A text, or its beginning and what tells it from all others."""
    if len(text) <= MAX_SAID_CHARS:
        return text
    digest = sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
    return f"{text[:MAX_SAID_CHARS]}… ({len(text):,} characters, sha256:{digest})"


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
