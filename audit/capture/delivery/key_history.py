"""What log 0 says about producers' keys: which there are, and for which entries each is good.

An index is of one log, and two logs do not grow alike: so an entry about a key says how far every
log was then (`sizes`), and a key has a range in each of them.
"""

import contextlib
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from audit.errors import FormatError
from audit.event.payload import decode_payload
from audit.event.schema import SchemaBook
from audit.log.entry import Kind
from audit.log.record import read_record
from audit.store.contract import LOG_OF_THE_LEDGER, Located, Reader
from audit.tlog.keys import Verifier
from audit.verify.policy import ProducerKey, producer_line

REGISTERED = "key.registered"
ROTATED = "key.rotated"
REVOKED = "key.revoked"

Sizes = tuple[tuple[str, int], ...]
"""(origin, size) of logs."""


class RegisteredKey(NamedTuple):
    """A producer's key as log 0 knows it.

    `first_index` and `last_index`: the entries of log 0 (`home`) that it may have signed. A new key
    counts from the start of each log: the entry that registers it is no promise about earlier ones.
    `last_index` is None while it is not revoked or replaced. `begun` and `ended`: how far the other
    logs were then; a log that is not named there was not there yet.
    """

    name: str
    verifier: Verifier
    first_index: int
    last_index: int | None
    home: str
    begun: Sizes = ()
    ended: Sizes = ()

    def range_in(self, origin: str) -> tuple[int, int | None]:
        """The first and last index of a log that it is good for; none, where the last is less."""
        if origin == self.home:
            return self.first_index, self.last_index
        first = dict(self.begun).get(origin, 0)
        return first, None if self.last_index is None else dict(self.ended).get(origin, 0) - 1

    @property
    def policy_lines(self) -> tuple[str, ...]:
        """The lines for the policy file: one where log 0 is the only log, else one for each."""
        if not self.begun and not self.ended:
            return (self._line(self.first_index, self.last_index),)
        others = [origin for origin, _ in (*self.ended, *self.begun)]
        lines = []
        for origin in dict.fromkeys([self.home, *others]):
            first, last = self.range_in(origin)
            # No producer writes entry 0: "0 0" is a range in which nothing is his.
            lines.append(
                self._line(0, 0, origin)
                if last is not None and last < first
                else self._line(first, last, origin)
            )
        # For logs that were added later.
        return *lines, self._line(0, 0) if self.last_index is not None else self._line(1, None)

    @property
    def policy_line(self) -> str:
        """The same as one text."""
        return "\n".join(self.policy_lines)

    def _line(self, first: int, last: int | None, origin: str | None = None) -> str:
        return producer_line(ProducerKey(self.name, self.verifier, first, last, origin))


class KeyHistory:
    """The keys of a ledger, read on from where it was read to before. One thread uses it.

    `keys`: all that were ever registered, in the order in which they were. `said`: how often log 0
    says something (type of event) of a key (its vkey).
    """

    def __init__(self, reader: Reader) -> None:
        """Nothing is read yet."""
        self.keys: list[RegisteredKey] = []
        self.said: Counter[tuple[str, str]] = Counter()
        self._reader = reader
        self._size = 0
        self._home = ""
        self._book = SchemaBook.with_builtins()

    def look(self, size: int | None = None) -> None:
        """Read what log 0 said since, up to its first `size` entries. Raises Unavailable."""
        reader = self._reader
        if size is None:
            size = reader.size(LOG_OF_THE_LEDGER)
        if size <= self._size:
            return
        if not self._home:
            self._home = next(i.origin for i in reader.logs() if i.log == LOG_OF_THE_LEDGER)
        found: Iterable[Located]
        if self._size:
            found = reader.leaves(LOG_OF_THE_LEDGER, self._size, size)
        else:
            found = reader.special(LOG_OF_THE_LEDGER, size, int(Kind.CONTROL))
        for index, leaf in found:
            self._take(index, leaf)
        self._size = size

    def of(self, verifier: Verifier) -> list[RegisteredKey]:
        """What is known of a key; it may have been registered again after its end."""
        public_key = verifier.public_key
        return [key for key in self.keys if key.verifier.public_key == public_key]

    def current(self, name: str) -> RegisteredKey | None:
        """The key that a producer has now; None when he has none."""
        found = (key for key in self.keys if key.name == name and key.last_index is None)
        return next(found, None)

    def _take(self, index: int, leaf: bytes) -> None:
        try:
            record = read_record(LOG_OF_THE_LEDGER, leaf)
            event = record.event
            if record.entry.kind is not Kind.CONTROL or event is None:
                return
            if event.type not in (REGISTERED, ROTATED, REVOKED):
                return
            data = decode_payload(event, self._book)
        except FormatError:
            return  # `audit verify` names it; a list of keys shows what can be read
        if not isinstance(data, dict):
            return
        name, vkey = data.get("name"), data.get("vkey")
        if isinstance(name, str) and isinstance(vkey, str):
            self.said[event.type, vkey] += 1
            ended = vkey if event.type == REVOKED else data.get("previous_vkey")
            sizes = _sizes(data.get("sizes"))
            for at, key in enumerate(self.keys):
                if key.name == name and key.verifier.vkey == ended and key.last_index is None:
                    self.keys[at] = key._replace(last_index=index, ended=sizes)
            if event.type != REVOKED:
                with contextlib.suppress(FormatError):
                    self._begin(event.type, index, name, Verifier.parse(vkey), sizes)

    def _begin(self, type_: str, index: int, name: str, verifier: Verifier, sizes: Sizes) -> None:
        is_new = type_ == REGISTERED and not self.of(verifier)
        first, begun = (0, ()) if is_new else (index + 1, sizes)
        self.keys.append(RegisteredKey(name, verifier, first, None, self._home, begun))


def _sizes(said: object) -> Sizes:
    """The sizes of logs that an entry says; what is none of them is left out."""
    pairs = said if isinstance(said, list) else []
    return tuple(
        (pair[0], pair[1])
        for pair in pairs
        if isinstance(pair, list)
        and len(pair) == 2
        and isinstance(pair[0], str)
        and type(pair[1]) is int
        and pair[1] >= 0
    )


def list_keys(reader: Reader, size: int | None = None) -> list[RegisteredKey]:
    """All keys that log 0 ever registered (in its first `size` entries). Raises Unavailable."""
    history = KeyHistory(reader)
    history.look(size)
    return history.keys


def current_key(reader: Reader, name: str) -> RegisteredKey | None:
    """The key that a producer has now; None when he has none. Raises Unavailable."""
    history = KeyHistory(reader)
    history.look()
    return history.current(name)
