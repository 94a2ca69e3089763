"""What a caller gives to judge by: checkpoints and policies, in all the forms that people hold."""

import os
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from audit.errors import InvalidInput
from audit.log.receipt import HEADER, parse_receipt
from audit.verify.external import MAX_EXTERNAL_CHECKPOINTS
from audit.verify.policy import Policy

GivenCheckpoint = bytes | str | Mapping[str, Any]
"""A signed note, a receipt, or a dict with its `note`, as `df.attrs["audit"]` cites one."""

GivenPolicy = Policy | str | os.PathLike[str]
"""A policy, or the path of a policy file."""

_RECEIPT_MAGIC = b"c2sp.org/tlog-proof"
assert HEADER.encode().startswith(_RECEIPT_MAGIC)


def given_checkpoints(given: Iterable[GivenCheckpoint]) -> list[bytes]:
    """The signed notes in what was given. What they say is not looked at.

    Raises InvalidInput for another type, FormatError and LimitExceeded for a broken receipt.
    """
    if isinstance(given, bytes | str | Mapping) or not isinstance(given, Iterable):
        raise InvalidInput("checkpoints are given as a list, also when it is only one")
    # One more than allowed is enough to be refused for it.
    return [_note(item) for item in islice(given, MAX_EXTERNAL_CHECKPOINTS + 1)]


def given_policy(given: GivenPolicy | None) -> Policy | None:
    """The policy that was given, read from its file where that was named.

    Raises InvalidInput for another type, and what `Policy.from_file` does.
    """
    if given is None or isinstance(given, Policy):
        return given
    if isinstance(given, str | os.PathLike):
        return Policy.from_file(os.fsdecode(given))
    raise InvalidInput(f"a policy is a Policy or the path of its file, not {_kind(given)}")


def _note(given: object) -> bytes:
    note = given.get("note") if isinstance(given, Mapping) else given
    if isinstance(note, str):
        try:
            note = note.encode()
        except UnicodeEncodeError:
            raise InvalidInput("a checkpoint given as text is not UTF-8") from None
    if not isinstance(note, bytes):
        raise InvalidInput(
            "a checkpoint is given as bytes, text, a receipt, or a dict with its note, "
            f"not {_kind(given)}"
        )
    return parse_receipt(note).checkpoint if note.startswith(_RECEIPT_MAGIC) else note


def _kind(value: object) -> str:
    return type(value).__name__[:80]
