"""Whom a verifier trusts: C2SP tlog-policy, and lines that pin the keys of producers.

::

    log <vkey> [<url>]
    witness <name> <vkey> [<url>]
    group <name> all|any|<k> <member>...
    quorum <name>|none
    producer <name> <vkey> [<first index> [<last index>]] [log=<origin>]

Source: C2SP `tlog-policy.md`; `producer` is ours. Items are separated by ASCII space and tab only,
lines by line feed; empty lines and lines whose first item begins with "#" are ignored. Octets above
0x7F are opaque. Everything that is not one of these lines is refused.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Self

from audit.errors import FormatError, LimitExceeded, NotFound, Unavailable
from audit.tlog.keys import KEY_ID_BYTES, Verifier, key_name_ok
from audit.tlog.text import parse_base64, parse_decimal
from audit.verify.lookalike import look_alikes

MAX_POLICY_BYTES = 1_000_000
"""Largest policy that is read."""

MAX_POLICY_ITEMS = 4_096
"""Most lines of each kind: logs, witnesses, groups, producers."""

NO_QUORUM = "none"

_LOG = "log="
"""Before the origin of the log that a producer's line is about."""

_WITNESS_KEY_BYTES = {0x04: 32, 0x06: 1_312}
"""Public key length by signature type of a cosigner: Ed25519 cosignature/v1, ML-DSA-44."""

_KEY_ID_HEX = re.compile(r"[0-9a-f]{8}", re.ASCII)
_SPACE = re.compile(r"[ \t]+")
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class WitnessKey(NamedTuple):
    """A witness: its name inside the policy, its key's own name, signature type and public key."""

    name: str
    vkey: str
    key_name: str
    key_id: bytes
    signature_type: int
    public_key: bytes


class Group(NamedTuple):
    """Members (witnesses or earlier groups), of which at least `threshold` must have cosigned."""

    name: str
    threshold: int
    members: tuple[str, ...]


class ProducerKey(NamedTuple):
    """A producer's key, good for entries from `first_index` to `last_index` (both inclusive).

    With an `origin` they are entries of that log alone. Without one they are those of every log for
    which no other line names this key: an index says nothing about when, in two logs.
    """

    name: str
    verifier: Verifier
    first_index: int = 0
    last_index: int | None = None
    origin: str | None = None

    def covers(self, index: int) -> bool:
        """Whether an entry at this index may be signed by this key."""
        return self.first_index <= index and (self.last_index is None or index <= self.last_index)


@dataclass(frozen=True, slots=True)
class Policy:
    """Whom to trust: keys of logs, witnesses and producers, and the quorum of witnesses.

    `description` says where the policy came from, for reports. `beside_store` is true when it lay
    with the ledger it judges; then it proves nothing against whoever holds that machine.
    """

    logs: tuple[Verifier, ...] = ()
    witnesses: tuple[WitnessKey, ...] = ()
    groups: tuple[Group, ...] = ()
    quorum: str = NO_QUORUM
    producers: tuple[ProducerKey, ...] = ()
    urls: tuple[tuple[str, str], ...] = ()
    """(vkey, URL) of logs and witnesses that have one."""
    description: str = field(default="policy", compare=False)
    beside_store: bool = field(default=False, compare=False)

    @classmethod
    def from_text(
        cls, text: str | bytes, *, description: str = "policy text", beside_store: bool = False
    ) -> Self:
        """Parse a policy file's content. Raises FormatError (with the line), LimitExceeded."""
        reading = _Reading()
        for number, line in _lines(text):
            try:
                reading.take(_SPACE.split(line.strip(" \t")))
            except FormatError as error:
                raise FormatError(f"policy line {number}: {error}") from None
        if reading.quorum is None:
            raise FormatError(
                'the policy has no quorum line; without witnesses it is "quorum none"'
            )
        return cls(
            tuple(reading.logs.values()),
            tuple(reading.witnesses.values()),
            tuple(reading.groups),
            reading.quorum,
            tuple(reading.producers),
            tuple(reading.urls),
            description,
            beside_store,
        )

    @classmethod
    def from_file(cls, path: str | Path, *, beside_store: bool = False) -> Self:
        """Read a policy file. Raises NotFound, Unavailable, FormatError, LimitExceeded."""
        try:
            with open(path, "rb") as file:
                data = file.read(MAX_POLICY_BYTES + 1)
        except FileNotFoundError:
            raise NotFound(f"no policy file {path}; `audit init` writes one") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise Unavailable(f"cannot read the policy {path}: {reason}") from None
        return cls.from_text(data, description=f"policy file {path}", beside_store=beside_store)

    @classmethod
    def from_vkeys(cls, vkeys: Sequence[str]) -> Self:
        """A policy that trusts just these log keys, without witnesses. Raises FormatError."""
        logs = tuple(Verifier.parse(vkey) for vkey in vkeys)
        if len({key.public_key for key in logs}) != len(logs):
            raise FormatError("one public key is given for two logs")
        count = "1 given key" if len(logs) == 1 else f"{len(logs)} given keys"
        return cls(logs, description=count)

    @classmethod
    def from_vkey(cls, vkey: str) -> Self:
        """A policy that trusts just this log key, without witnesses. Raises FormatError."""
        return cls.from_vkeys([vkey])

    def to_text(self) -> str:
        """The policy as a file's content; `from_text` reads the same policy back."""
        urls = dict(self.urls)
        lines = [_join("log", key.vkey, urls.get(key.vkey)) for key in self.logs]
        lines += [_join("witness", w.name, w.vkey, urls.get(w.vkey)) for w in self.witnesses]
        lines += [_join("group", g.name, str(g.threshold), *g.members) for g in self.groups]
        lines.append(_join("quorum", self.quorum))
        lines += [producer_line(producer) for producer in self.producers]
        return "\n".join(lines) + "\n"

    def keys_of(self, origin: str) -> tuple[Verifier, ...]:
        """The pinned keys of the log with this origin."""
        return tuple(key for key in self.logs if key.name == origin)

    def producers_in(self, origin: str) -> tuple[ProducerKey, ...]:
        """The lines of producers' keys that hold in the log with this origin."""
        named = {key.verifier.public_key for key in self.producers if key.origin == origin}
        return tuple(
            key
            for key in self.producers
            if key.origin == origin or (key.origin is None and key.verifier.public_key not in named)
        )

    def quorum_met(self, witnesses: Collection[str]) -> bool:
        """Whether these witnesses (their names in the policy, cosignatures verified) suffice."""
        if self.quorum == NO_QUORUM:
            return True
        met = {witness.name for witness in self.witnesses} & set(witnesses)
        # Groups name only what stands before them, so one pass decides all.
        for group in self.groups:
            if sum(member in met for member in group.members) >= group.threshold:
                met.add(group.name)
        return self.quorum in met

    def warnings(self) -> list[tuple[str, str]]:
        """(code, message) for keys that look like one another."""
        logs = [(key.name, key.public_key, 0, None) for key in self.logs]
        found: dict[str, None] = {}  # ranges are compared within one log; each message once
        # No producer writes entry 0, so a range that ends there is empty.
        for origin in dict.fromkeys([None, *(key.origin for key in self.producers)]):
            producers = [
                (key.name, key.verifier.public_key, max(key.first_index, 1), key.last_index)
                for key in self.producers
                if key.origin == origin
            ]
            found.update(dict.fromkeys(look_alikes(logs, producers)))
        return [("look_alike_key", message) for message in found]


def producer_line(producer: ProducerKey) -> str:
    """The policy line of a producer's key."""
    line = f"producer {producer.name} {producer.verifier.vkey}"
    if producer.first_index or producer.last_index is not None:
        line += f" {producer.first_index}"
    if producer.last_index is not None:
        line += f" {producer.last_index}"
    return line if producer.origin is None else f"{line} {_LOG}{producer.origin}"


class _Reading:
    """What the lines read so far define."""

    def __init__(self) -> None:
        self.logs: dict[bytes, Verifier] = {}
        self.witnesses: dict[bytes, WitnessKey] = {}
        self.groups: list[Group] = []
        self.producers: list[ProducerKey] = []
        self.urls: list[tuple[str, str]] = []
        self.quorum: str | None = None
        self.names: set[str] = set()
        self.members: set[str] = set()

    def take(self, items: list[str]) -> None:
        match items:
            case ["log", vkey, *url] if len(url) <= 1:
                self._log(vkey, url)
            case ["witness", name, vkey, *url] if len(url) <= 1:
                self._witness(name, vkey, url)
            case ["group", name, count, *members] if members:
                self._group(name, count, members)
            case ["quorum", name]:
                self._quorum(name)
            case ["producer", name, vkey, *indexes, log] if log.startswith(_LOG):
                self._producer(name, vkey, indexes, log.removeprefix(_LOG))
            case ["producer", name, vkey, *indexes]:
                self._producer(name, vkey, indexes, None)
            case [("log" | "witness" | "group" | "quorum" | "producer") as word, *_]:
                raise FormatError(f"a {word} line has too few or too many items")
            case _:
                raise FormatError(f"{items[0][:40]!a} begins no line that is known")

    def _log(self, vkey: str, url: list[str]) -> None:
        key = Verifier.parse(vkey)
        if key.public_key in self.logs:
            raise FormatError("one public key is named for two logs")
        self.logs[key.public_key] = key
        self._finish(len(self.logs), vkey, url)

    def _witness(self, name: str, vkey: str, url: list[str]) -> None:
        key = _witness_key(name, vkey)
        if key.public_key in self.witnesses:
            raise FormatError("one public key is named for two witnesses")
        self._define(name)
        self.witnesses[key.public_key] = key
        self._finish(len(self.witnesses), vkey, url)

    def _group(self, name: str, count: str, members: list[str]) -> None:
        if len(members) > MAX_POLICY_ITEMS:
            raise LimitExceeded(f"a group of a policy has at most {MAX_POLICY_ITEMS} members")
        for member in members:
            if member not in self.names:
                raise FormatError(f"{member[:80]!a} is not defined on a line before")
            if member in self.members:
                raise FormatError(f"{member[:80]!a} is a group member already")
            self.members.add(member)
        match count:
            case "all":
                threshold = len(members)
            case "any":
                threshold = 1
            case _:
                threshold = parse_decimal(count, "a group's threshold")
        if not 1 <= threshold <= len(members):
            raise FormatError(f"a group of {len(members)} cannot ask for {threshold} of them")
        self._define(name)
        self.groups.append(Group(name, threshold, tuple(members)))
        self._finish(len(self.groups), name, [])

    def _quorum(self, name: str) -> None:
        if self.quorum is not None:
            raise FormatError("a policy has exactly one quorum line")
        if name != NO_QUORUM and name not in self.names:
            raise FormatError(f"{name[:80]!a} is not defined on a line before")
        self.quorum = name

    def _producer(self, name: str, vkey: str, indexes: list[str], origin: str | None) -> None:
        if len(indexes) > 2:
            raise FormatError("a producer line has too few or too many items")
        if origin is not None and not key_name_ok(origin):
            raise FormatError('the origin of a log has no white space and no "+"')
        if not key_name_ok(name):
            raise FormatError('a producer\'s name is UTF-8 without white space and "+"')
        first = parse_decimal(indexes[0], "the first index") if indexes else 0
        last = parse_decimal(indexes[1], "the last index") if len(indexes) == 2 else None
        if last is not None and last < first:
            raise FormatError("a producer's last index is before its first")
        self.producers.append(ProducerKey(name, Verifier.parse(vkey), first, last, origin))
        self._finish(len(self.producers), vkey, [])

    def _define(self, name: str) -> None:
        if name == NO_QUORUM or name in self.names:
            raise FormatError(f"the name {name[:80]!a} is taken")
        self.names.add(name)

    def _finish(self, count: int, vkey: str, url: list[str]) -> None:
        if count > MAX_POLICY_ITEMS:
            raise LimitExceeded(f"a policy has at most {MAX_POLICY_ITEMS} lines of one kind")
        self.urls += [(vkey, text) for text in url]


def _lines(text: str | bytes) -> Iterator[tuple[int, str]]:
    """The lines that say something, with their numbers from 1."""
    if isinstance(text, bytes):
        text = text.decode(errors="surrogateescape")
    if len(text) > MAX_POLICY_BYTES:
        raise LimitExceeded(f"a policy of more than {MAX_POLICY_BYTES:,} bytes is not read")
    for number, line in enumerate(text.split("\n"), 1):
        if _FORBIDDEN.search(line):
            raise FormatError(
                f"policy line {number} has a control character (a carriage return?); "
                "only tab and line feed are allowed"
            )
        item = line.lstrip(" \t")
        if item and not item.startswith("#"):
            yield number, line


def _witness_key(name: str, vkey: str) -> WitnessKey:
    """A cosigner's verifier key (C2SP signed-note and tlog-cosignature)."""
    parts = vkey.split("+", 2)
    if len(parts) != 3 or not _KEY_ID_HEX.fullmatch(parts[1]) or not key_name_ok(parts[0]):
        raise FormatError("not a verifier key: expected <name>+<8 hex digits>+<base64>")
    key = parse_base64(parts[2], "the verifier key's last part")
    if not key or _WITNESS_KEY_BYTES.get(key[0]) != len(key) - 1:
        raise FormatError("a witness's key is of type 04 (Ed25519) or 06 (ML-DSA-44)")
    key_id = sha256(parts[0].encode() + b"\n" + key).digest()[:KEY_ID_BYTES]
    if key_id.hex() != parts[1]:
        raise FormatError("the key id does not fit the key's name and public key")
    return WitnessKey(name, vkey, parts[0], key_id, key[0], key[1:])


def _join(*items: str | None) -> str:
    return " ".join(item for item in items if item is not None)
