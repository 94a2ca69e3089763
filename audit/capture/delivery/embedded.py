"""The writing side of a ledger without a broker: its store, key and policy, made when missing.

Order when a ledger is made: the key file, then the store (one transaction: tables, guards, log 0),
then the policy. A crash between two of them leaves what the next start goes on from. Two processes
that make the same ledger at once end with one of each: a key file appears under its name only when
it is whole (hard link from a private name), the store's transaction lets one origin win, and the
loser takes both over.
"""

import contextlib
import os
import secrets
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from audit.errors import AuditError, InvalidInput, Unavailable
from audit.log.intake import Incoming, Message, accept
from audit.store import clock_us, open_store, store_folder
from audit.store.contract import LOG_OF_THE_LEDGER, Appended, LogInfo
from audit.tlog.keyfile import read_key, write_key
from audit.tlog.keys import Ed25519Signer, Signer, derive_seed, key_name_ok, new_seed

if TYPE_CHECKING:
    from audit.capture.delivery.producers import PinnedProducers
    from audit.store.sql_store import SqlStore

KEY_FILE = "audit.key"
POLICY_FILE = "audit.policy"
ROOT_KEY_NAME = "ledger-root"
"""Name inside a new key file; it signs nothing itself, each log's key is derived from it."""
ORIGIN_PREFIX = "attestory.local/"
MAX_ORIGIN_STEM_CHARS = 64

ENV_KEY = "AUDIT_KEY"
ENV_PASSPHRASE = "AUDIT_KEY_PASSPHRASE"
ENV_POLICY = "AUDIT_POLICY"
ENV_SIGNATURES = "AUDIT_SIGNATURES"
REQUIRE = "require"


class EmbeddedLedger:
    """A ledger that this process appends to directly.

    `created`: this call made the ledger. `origin`, `vkey`: name and verifier key of log 0.
    `url`, `key_path`, `policy_path`: where its parts are. `policy_written`: this call wrote the
    policy file. Appending is safe from several threads and processes: the store's lock orders them.
    """

    def __init__(
        self,
        store: "SqlStore",
        root_seed: bytes,
        info: LogInfo,
        *,
        url: str,
        key_path: Path,
        policy_path: Path,
        created: bool,
    ) -> None:
        """Use `open_for_writing`."""
        self.store = store
        self.url = url
        self.key_path = key_path
        self.policy_path = policy_path
        self.created = created
        self.policy_written = False
        self.origin = info.origin
        self.vkey = info.vkey
        self._root_seed = root_seed
        self._signers: dict[int, Signer] = {}
        self._judging = threading.Lock()
        self._pinned: PinnedProducers | None = None
        self._requires = os.environ.get(ENV_SIGNATURES) == REQUIRE
        self.signer(LOG_OF_THE_LEDGER)

    def signer(self, log: int = LOG_OF_THE_LEDGER) -> Signer:
        """The signing key of one log, derived from the root key and the log's origin.

        Raises InvalidInput for a log that is not there, or when the root key is another one.
        """
        known = self._signers.get(log)
        if known is not None:
            return known
        info = next((info for info in self.store.logs() if info.log == log), None)
        if info is None:
            raise InvalidInput(f"{self.store.address} has no log {log}")
        signer = self.key_of(info.origin)
        if signer.verifier.vkey != info.vkey:
            raise InvalidInput(
                f"the key {self.key_path} is not the one of the ledger {info.origin}\n"
                f"give the right one with {ENV_KEY}"
            )
        self._signers[log] = signer
        return signer

    def key_of(self, origin: str) -> Signer:
        """The signing key of the log of this origin, whether that log is there yet or not."""
        return Ed25519Signer.from_seed(origin, derive_seed(self._root_seed, origin))

    def open_log(self, log: int, origin: str) -> bool:
        """Begin a further log. True when this call made it. Raises as `Store.open_log`."""
        return self.store.open_log(log, origin, self.key_of(origin))

    def append(self, messages: Sequence[Message], log: int = LOG_OF_THE_LEDGER) -> Appended:
        """Seal events in one transaction with one checkpoint. Raises as `Store.append`.

        With AUDIT_SIGNATURES=require those that no good producer's key signed are quarantined; it
        raises as `PinnedProducers` while the policy pins none.
        """
        signer = self.signer(log)
        if not self._requires:
            return self.store.append(log, messages, signer)
        return self.store.append(log, self._judged(messages, log, signer), signer)

    def _judged(self, messages: Sequence[Message], log: int, signer: Signer) -> list[Incoming]:
        from audit.capture.delivery.producers import PinnedProducers

        first = self.store.size(log)
        # Another writer may come between, and a first append adds the schemas: an end that is
        # further away refuses at most what comes just before the end of a key.
        last = first + 2 * len(messages)
        with self._judging:
            if self._pinned is None:
                self._pinned = PinnedProducers(self.policy_path, reader=self.store)
            self._pinned.look()
            origin = signer.verifier.name
            return [self._pinned.judged(accept(m), origin, first, last) for m in messages]

    def append_control(self, events: Sequence[bytes]) -> Appended:
        """Seal what the ledger itself says, in log 0. Raises as `Store.append_control`."""
        signer = self.signer(LOG_OF_THE_LEDGER)
        return self.store.append_control(LOG_OF_THE_LEDGER, events, signer)

    def close(self) -> None:
        """Close the store. Safe to repeat."""
        self.store.close()

    def __enter__(self) -> Self:
        """The ledger itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()


def open_for_writing(
    url: str,
    *,
    key_path: str | os.PathLike[str] | None = None,
    passphrase: str | bytes | None = None,
    policy_path: str | os.PathLike[str] | None = None,
    origin: str | None = None,
    clock: Callable[[], int] | None = None,
) -> EmbeddedLedger:
    """Open a ledger for appending; make store, key and policy where they are missing.

    Key and policy lie beside the store unless AUDIT_KEY and AUDIT_POLICY, or the arguments, say
    otherwise; the passphrase is the argument or AUDIT_KEY_PASSPHRASE. `origin` names a new ledger
    (default: attestory.local/ with the file's name and 8 random hex digits) and is compared with an
    existing one's. `clock` gives microseconds since the epoch. Raises InvalidInput (another origin,
    a key that is missing or not the ledger's), Unavailable, StoreBusy, StoreCorrupt.
    """
    folder = store_folder(url)
    if origin is not None and not key_name_ok(origin):
        raise InvalidInput('an origin must not be empty and has no white space and no "+"')
    key = _place(key_path, ENV_KEY, folder / KEY_FILE)
    policy = _place(policy_path, ENV_POLICY, folder / POLICY_FILE)
    secret = passphrase_of(passphrase)
    store = open_store(url, create=True, clock=clock_us if clock is None else clock)
    try:
        info = _log_0(store)
        root_seed = _root_seed(key, secret, info)
        created = info is None
        if info is None:
            info, created = _create(store, url, root_seed, origin, policy)
        if origin is not None and info.origin != origin:
            raise InvalidInput(
                f"{store.address} already holds the ledger {info.origin}, not {origin}"
            )
        ledger = EmbeddedLedger(
            store,
            root_seed,
            info,
            url=url,
            key_path=key,
            policy_path=policy,
            created=created,
        )
        ledger.policy_written = _write_policy(policy, info.vkey)
    except BaseException:
        store.close()
        raise
    return ledger


def passphrase_of(given: str | bytes | None) -> bytes | None:
    """The passphrase given, else the one in AUDIT_KEY_PASSPHRASE, else None."""
    if given is None:
        given = os.environ.get(ENV_PASSPHRASE) or None
    return given.encode() if isinstance(given, str) else given


def _place(given: str | os.PathLike[str] | None, variable: str, default: Path) -> Path:
    if given is not None:
        return Path(given)
    named = os.environ.get(variable)
    return Path(named) if named else default


def _log_0(store: "SqlStore") -> LogInfo | None:
    """Log 0 as the store names it; None when there is no ledger in the file yet."""
    if store.is_empty():
        return None
    return next((info for info in store.logs() if info.log == LOG_OF_THE_LEDGER), None)


def _root_seed(key: Path, secret: bytes | None, info: LogInfo | None) -> bytes:
    if info is not None and not key.exists():
        # A new key could sign nothing here: the log's newest checkpoint is by the old one.
        raise InvalidInput(
            f"the ledger {info.origin} is there but its key {key} is not\n"
            f"put the key back, or say where it is with {ENV_KEY}"
        )
    if info is None and not key.exists():
        _make_key(key, secret)
    return read_key(key, secret)[1]


def _make_key(key: Path, secret: bytes | None) -> None:
    """Write a new key file so that it appears whole or not at all; the first of several wins."""
    private = key.with_name(f".{key.name}.{os.getpid()}.{secrets.token_hex(8)}")
    try:
        write_key(private, ROOT_KEY_NAME, new_seed(), secret)
    except AuditError as error:
        raise type(error)(str(error).replace(str(private), str(key))) from None
    _appear(private, key)


def _appear(private: Path, public: Path) -> bool:
    """Give a finished file its name unless that is taken; the name never means half a file."""
    try:
        os.link(private, public)
    except FileExistsError:
        return False
    except OSError as error:
        raise Unavailable(f"cannot write {public}: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(private)
    _sync_folder(public.parent)
    return True


def _sync_folder(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise Unavailable(f"cannot open the folder {folder}: {error.strerror}") from None
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise Unavailable(f"cannot write the folder {folder}: {error.strerror}") from None
    finally:
        os.close(descriptor)


def _create(
    store: "SqlStore", url: str, root_seed: bytes, origin: str | None, policy: Path
) -> tuple[LogInfo, bool]:
    """Make the ledger, or take over the one that another process made first: (log 0, made here)."""
    wanted = _default_origin(url) if origin is None else origin
    signer = Ed25519Signer.from_seed(wanted, derive_seed(root_seed, wanted))
    if _names(policy, signer.verifier.vkey) and _log_0(store) is None:
        raise InvalidInput(
            f"{policy} says that a ledger {wanted} with this key was here before: put it back, or "
            "choose another origin\n(one key must never sign two histories of one name)"
        )
    made = LogInfo(LOG_OF_THE_LEDGER, wanted, signer.verifier.vkey)
    try:
        created = store.create(wanted, signer)
    except InvalidInput:
        there = _log_0(store)
        if there is None or origin is not None:
            raise
        return there, False
    return made, created


def _default_origin(url: str) -> str:
    """A name after the store's file or database: the last part of its URL's path."""
    path = url.partition("://")[2].partition("/")[2].partition("?")[0]
    stem = "".join(c if c.isalnum() or c in "-._" else "-" for c in Path(path).stem)
    return f"{ORIGIN_PREFIX}{stem[:MAX_ORIGIN_STEM_CHARS]}-{secrets.token_hex(4)}"


def _names(policy: Path, vkey: str) -> bool:
    """True when a policy file that can be read names this log key."""
    from audit.verify.policy import Policy

    if not policy.exists():
        return False
    try:
        return any(known.vkey == vkey for known in Policy.from_file(policy).logs)
    except AuditError:
        return False  # whoever verifies is told; a writer does not depend on it


def _write_policy(policy: Path, vkey: str) -> bool:
    """Write the policy file unless there is one: an existing one is its owner's business.

    An empty one is filled where it is: `audit key new crm >> audit.policy` made it a moment ago,
    and goes on writing into that very file.
    """
    from audit.verify.policy import Policy

    text = Policy.from_vkey(vkey).to_text()
    if policy.exists():
        return _fill_empty(policy, text)
    private = policy.with_name(f".{policy.name}.{os.getpid()}.{secrets.token_hex(8)}")
    try:
        with open(private, "x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(private)
        raise Unavailable(f"cannot write the policy {policy}: {error.strerror}") from None
    return _appear(private, policy)


def _fill_empty(policy: Path, text: str) -> bool:
    try:
        if policy.stat().st_size:
            return False
        with open(policy, "a", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise Unavailable(f"cannot write the policy {policy}: {error.strerror}") from None
    return True
