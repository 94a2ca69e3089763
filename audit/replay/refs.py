"""REFs: what `user/5`, `prediction/ID`, `run/ID`, `model/NAME@VERSION` and the like name."""

import re
from typing import NamedTuple

from audit.errors import InvalidInput, LimitExceeded
from audit.event.envelope import MAX_KEY_BYTES, MAX_TYPE_BYTES, RESERVED_ENTITY_TYPES

RECORD_WORDS = frozenset(("prediction", "run", "model", "dataset"))
"""First words of REFs that do not name a row of a dataset."""

_ENTITY = re.compile(r"[a-z][a-z0-9_.-]*", re.ASCII)
_VERSIONED = frozenset(("model", "dataset"))


class Ref(NamedTuple):
    """A thing with a name. `entity_type` is a dataset's, or one of RECORD_WORDS."""

    entity_type: str
    entity_key: str

    @property
    def is_row(self) -> bool:
        """True when it names a row of a dataset."""
        return self.entity_type not in RECORD_WORDS

    @property
    def name(self) -> str:
        """NAME of a model or dataset, else the key."""
        return self._split()[0]

    @property
    def version(self) -> str | None:
        """VERSION of a model or dataset, else None."""
        return self._split()[1]

    def _split(self) -> tuple[str, str | None]:
        if self.entity_type not in _VERSIONED:
            return self.entity_key, None
        name, _, version = self.entity_key.rpartition("@")
        return name, version

    def __str__(self) -> str:
        """As it is typed."""
        return f"{self.entity_type}/{self.entity_key}"


def is_ref(text: str) -> bool:
    """True when the text has a slash: it then names a thing, otherwise a whole dataset."""
    return "/" in text


def parse_ref(text: str) -> Ref:
    """The REF in a text; the first slash separates, so a key may hold slashes, and may be empty.

    Raises InvalidInput, or LimitExceeded for a key over 1,024 bytes.
    """
    entity_type, slash, key = text.partition("/")
    if not slash:
        raise InvalidInput(f"{text!r} names a whole dataset, not one thing; write {text}/KEY")
    if entity_type in RECORD_WORDS:
        return _record_ref(entity_type, key)
    return Ref(parse_entity(entity_type), checked_key(key))


def _record_ref(entity_type: str, key: str) -> Ref:
    name, at, version = key.rpartition("@")
    if entity_type in _VERSIONED and not (name and at and version):
        raise InvalidInput(
            f"{entity_type}/{key} names no version; write {entity_type}/NAME@VERSION"
        )
    if not key:
        raise InvalidInput(f"{entity_type}/ names nothing; write {entity_type}/ID")
    return Ref(entity_type, checked_key(key))


def parse_entity(text: str) -> str:
    """A dataset's entity type, checked. Raises InvalidInput."""
    if text in RECORD_WORDS:
        raise InvalidInput(f"{text}s are no dataset; they are read with their own commands")
    if text in RESERVED_ENTITY_TYPES:
        raise InvalidInput(f"{text!r} is a reserved word, and no dataset")
    if len(text) > MAX_TYPE_BYTES or not _ENTITY.fullmatch(text):
        raise InvalidInput(
            f"{text[:MAX_TYPE_BYTES]!r} is no entity type: a to z first, then a-z 0-9 _ . -"
        )
    return text


def checked_key(key: str) -> str:
    """A key, checked: at most 1,024 bytes of UTF-8. Raises InvalidInput or LimitExceeded."""
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise InvalidInput(f"the key {key!r} is no UTF-8 text") from None
    if size > MAX_KEY_BYTES:
        raise LimitExceeded(f"a key of {size} bytes is over the limit of {MAX_KEY_BYTES}")
    return key
