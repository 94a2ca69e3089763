"""The layout of a bundle: member names, limits, and its manifest `attestory-bundle/v1`.

A bundle is a zip file without compression, its members sorted by name, all dated 1980-01-01:

    HOW-TO-CHECK.txt        how to check it without this software
    checkpoints/<log>.note  for each log the signed tree head that all proofs lead to
    entries.avro            the entries with their proofs (`audit.verify.bundle.ocf`)
    manifest.json           what is in here, with the SHA-256 of every other member
    policy-as-found.txt     keys as the ledger's owner named them; not to be trusted (optional)
    schemas/<sha256>.avsc   every schema that the entries need, named by its digest

The manifest is not signed and proves nothing: the checkpoints and proofs do.
"""

import json
import re
from typing import Any, NamedTuple

from audit.errors import FormatError, LimitExceeded
from audit.tlog.hashing import HASH_BYTES, MAX_SIZE

FORMAT = "attestory-bundle/v1"
ENTRIES = "entries.avro"
HOW_TO_CHECK = "HOW-TO-CHECK.txt"
MANIFEST = "manifest.json"
POLICY = "policy-as-found.txt"

MAX_BUNDLE_BYTES = 2**31 - 1
"""Largest bundle; larger ones would need another zip format."""

MAX_MEMBERS = 20_000
MAX_MANIFEST_BYTES = 16_000_000
MAX_SMALL_MEMBER_BYTES = 1_000_000
"""Largest checkpoint, schema, policy or text."""

MAX_ENTRIES = 2_000_000
MAX_ENTRIES_BYTES = 2**30
"""Leaves and proofs of all entries together, decompressed: a reader holds them in memory."""

MAX_QUERY_BYTES = 64_000
MAX_LOG_NUMBER = 2**31 - 1

_MEMBER = re.compile(
    r"HOW-TO-CHECK\.txt|manifest\.json|entries\.avro|policy-as-found\.txt"
    r"|checkpoints/(?:0|[1-9][0-9]{0,9})\.note|schemas/[0-9a-f]{64}\.avsc",
    re.ASCII,
)
_HEX_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)


class BundleLog(NamedTuple):
    """One log as the manifest describes it. `edge`: roots of the complete subtrees of `size`."""

    log: int
    origin: str
    vkey: str
    size: int
    root_hash: bytes
    edge: tuple[bytes, ...]
    entries: int


class Manifest(NamedTuple):
    """The manifest. `members` gives length and SHA-256 of every other member by name."""

    query: str
    logs: tuple[BundleLog, ...]
    members: dict[str, tuple[int, bytes]]

    @property
    def entries(self) -> int:
        """How many entries there are in all."""
        return sum(log.entries for log in self.logs)

    def to_json(self) -> bytes:
        """The member's bytes: always the same for the same content."""
        content = {
            "format": FORMAT,
            "query": self.query,
            "counts": {
                "entries": self.entries,
                "logs": len(self.logs),
                "schemas": sum(name.startswith("schemas/") for name in self.members),
            },
            "logs": [
                {
                    "log": log.log,
                    "origin": log.origin,
                    "vkey": log.vkey,
                    "size": log.size,
                    "root_hash": log.root_hash.hex(),
                    "edge": [node.hex() for node in log.edge],
                    "entries": log.entries,
                }
                for log in self.logs
            ],
            "members": {
                name: {"bytes": size, "sha256": digest.hex()}
                for name, (size, digest) in sorted(self.members.items())
            },
            "note": "This file is not signed. The checkpoints and proofs are the evidence.",
        }
        return json.dumps(content, indent=1, ensure_ascii=True).encode() + b"\n"


def checkpoint_name(log: int) -> str:
    """The member that holds a log's checkpoint."""
    return f"checkpoints/{log}.note"


def schema_name(digest: bytes) -> str:
    """The member that holds the schema with this SHA-256."""
    return f"schemas/{digest.hex()}.avsc"


def is_member_name(name: str) -> bool:
    """Whether a bundle may have a member of this name; nothing that leaves a folder is one."""
    return _MEMBER.fullmatch(name) is not None


def member_limit(name: str) -> int:
    """How many bytes a member may have."""
    if name == ENTRIES:
        return MAX_BUNDLE_BYTES
    return MAX_MANIFEST_BYTES if name == MANIFEST else MAX_SMALL_MEMBER_BYTES


def parse_manifest(data: bytes) -> Manifest:
    """Read a manifest strictly. Raises FormatError, LimitExceeded."""
    if len(data) > MAX_MANIFEST_BYTES:
        raise LimitExceeded(f"a manifest has at most {MAX_MANIFEST_BYTES:,} bytes")
    try:
        content = json.loads(
            data.decode(), object_pairs_hook=_object, parse_constant=_refuse, parse_float=_refuse
        )
    except (ValueError, RecursionError) as error:
        raise FormatError(f"the manifest is not JSON: {error!s:.200}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise FormatError(f"the manifest does not say that its format is {FORMAT}")
    logs = tuple(_log(item) for item in _typed(content, "logs", list))
    if [log.log for log in logs] != sorted({log.log for log in logs}):
        raise FormatError("the manifest's logs are not in order, or one is there twice")
    if len({log.origin for log in logs}) != len(logs):
        raise FormatError("the manifest names one log twice")
    query = _typed(content, "query", str)
    members = {
        name: _member(name, value) for name, value in _typed(content, "members", dict).items()
    }
    return Manifest(query, logs, members)


def _member(name: str, value: Any) -> tuple[int, bytes]:
    if not is_member_name(name) or name == MANIFEST or not isinstance(value, dict):
        raise FormatError(f"the manifest lists a member {name[:100]!a} that a bundle has not")
    return _number(value, "bytes"), _hash(_typed(value, "sha256", str))


def _log(item: Any) -> BundleLog:
    if not isinstance(item, dict):
        raise FormatError("a log in the manifest is not an object")
    number = _number(item, "log")
    if number > MAX_LOG_NUMBER:
        raise FormatError("a log's number in the manifest is too large")
    return BundleLog(
        number,
        _typed(item, "origin", str),
        _typed(item, "vkey", str),
        _number(item, "size"),
        _hash(_typed(item, "root_hash", str)),
        tuple(_hash(node) for node in _typed(item, "edge", list)),
        _number(item, "entries"),
    )


def _typed(item: dict[str, Any], name: str, kind: type) -> Any:
    value = item.get(name)
    if type(value) is not kind:
        raise FormatError(f"{name!r} in the manifest is missing or of another type")
    return value


def _number(item: dict[str, Any], name: str) -> int:
    value: int = _typed(item, name, int)
    if not 0 <= value <= MAX_SIZE:
        raise FormatError(f"{name!r} in the manifest is not between 0 and 2^63-1")
    return value


def _hash(text: Any) -> bytes:
    if type(text) is not str or not _HEX_HASH.fullmatch(text):
        raise FormatError(f"a hash in the manifest is not {HASH_BYTES} bytes in lowercase hex")
    return bytes.fromhex(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name is there twice")
    return result


def _refuse(text: str) -> Any:
    raise ValueError(f"{text} is no number of a manifest")
