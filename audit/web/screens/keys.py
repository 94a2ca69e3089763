"""Keys and checkpoints: whose signatures there are, for which entries, what logs have signed."""

from itertools import islice
from typing import Any

from audit.capture.delivery.key_history import RegisteredKey
from audit.errors import AuditError
from audit.ledger import Ledger
from audit.store.contract import LogInfo
from audit.tlog.checkpoint import open_checkpoint
from audit.tlog.keys import Verifier
from audit.web.answer import Answer, Asked, Parameter, Screen

SHOWN_CHECKPOINTS = 25
"""Checkpoints of a log on one page."""
MAX_LOOKED_AT = 20_000
"""Checkpoints read to find the newest ones below a size."""
MAX_SIZE = 2**63 - 1


def _answer(asked: Asked) -> Answer:
    ledger = asked.ledger
    data = {
        "logs": [_log(asked, info) for info in ledger.reader.logs()],
        "producers": [_producer(key) for key in ledger.producer_keys(asked.cut)],
        "policy": _policy(asked),
    }
    return Answer("Keys and checkpoints", data, {}, ("audit", "key", "list"))


def _log(asked: Asked, info: LogInfo) -> dict[str, Any]:
    size = asked.cut.size(info.log)
    wanted = asked.text("log")
    if wanted == str(info.log) and asked.text("below"):
        size = min(size, asked.number("below", size or 1, MAX_SIZE) - 1)
    found = _newest(asked.ledger, info, size)
    older = asked.here(log=str(info.log), below=str(found[-1]["size"])) if found else None
    return {
        "log": info.log,
        "origin": info.origin,
        "vkey": info.vkey,
        "policy_line": f"log {info.vkey}",
        "checkpoints": found,
        "older": older if found and found[-1]["size"] > 1 else None,
    }


def _newest(ledger: Ledger, info: LogInfo, size: int) -> list[dict[str, Any]]:
    """The newest checkpoints at or below a size, newest first.

    The store gives them in order of size, so that we begin a little before the end, and further
    back as long as too few are found.
    """
    span = SHOWN_CHECKPOINTS
    while True:
        start = max(0, size - span)
        stored = islice(ledger.reader.checkpoints(info.log, start), MAX_LOOKED_AT)
        found = [one for one in stored if one.size <= size]
        if len(found) >= SHOWN_CHECKPOINTS or start == 0:
            newest = reversed(found[-SHOWN_CHECKPOINTS:])
            return [_checkpoint(one.size, one.note, info.vkey) for one in newest]
        span *= 8


def _checkpoint(size: int, note: bytes, vkey: str) -> dict[str, Any]:
    """A checkpoint; `problem` when the key that the store names for the log did not sign it."""
    said: dict[str, Any] = {"size": size, "note": note.decode("utf-8", "backslashreplace")}
    try:
        opened = open_checkpoint(note, [Verifier.parse(vkey)])
    except AuditError as error:
        return {**said, "root_hash": None, "problem": str(error)}
    problem = None if opened.size == size else f"it signs size {opened.size}"
    return {**said, "root_hash": opened.root.hex(), "problem": problem}


def _producer(key: RegisteredKey) -> dict[str, Any]:
    return {
        "name": key.name,
        "vkey": key.verifier.vkey,
        "first_index": key.first_index,
        "last_index": key.last_index,
        "policy_lines": list(key.policy_lines),
    }


def _policy(asked: Asked) -> dict[str, Any] | None:
    """Whom the policy in use trusts; None without one."""
    policy = asked.policy
    if policy is None:
        return None
    return {
        "description": policy.description,
        "beside_store": policy.beside_store,
        "logs": [log.vkey for log in policy.logs],
        "producers": [{"name": key.name, "vkey": key.verifier.vkey} for key in policy.producers],
    }


KEYS = Screen(
    path="/keys",
    template="keys.html",
    about="The logs' and the producers' keys as lines of a policy, and the newest checkpoints.",
    answer=_answer,
    parameters=(
        Parameter("log", "Number of the log whose older checkpoints are wanted.", most=MAX_SIZE),
        Parameter("below", "Only its checkpoints below this size.", least=1, most=MAX_SIZE),
    ),
    menu="Keys",
)
