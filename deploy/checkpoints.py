"""Keeps what the ledger published: the newest checkpoint of each log, one file each.

    attestory-entrypoint checkpoints FOLDER

The logs are those that the policy file names; the notes come from the topic audit.checkpoints, so
from another machine than the store. `audit verify --checkpoint FILE` checks them: nothing is
believed here. AUDIT_BUS says where Kafka is, AUDIT_POLICY where the policy (default: here).
"""

import os
import sys
from pathlib import Path
from urllib.parse import quote

from audit.errors import AuditError, InvalidInput, NotFound, Unavailable
from audit.kafka.address import parse_address
from audit.kafka.checkpoints import newest_checkpoints
from audit.verify.policy import Policy

DEFAULT_POLICY = "audit.policy"
SUFFIX = ".checkpoint"
READABLE = 0o644
"""Checkpoints are no secret: the more people have one, the better."""


def main(arguments: list[str]) -> int:
    """Write the files and print their names; returns the exit code."""
    try:
        if len(arguments) != 1:
            raise InvalidInput("usage: checkpoints FOLDER")
        policy = Policy.from_file(Path(os.environ.get("AUDIT_POLICY") or DEFAULT_POLICY))
        address = parse_address(os.environ.get("AUDIT_BUS", ""))
        found = newest_checkpoints(address, [key.name for key in policy.logs])
        if not found:
            raise NotFound("nothing was published for any log that the policy names")
        for origin, note in sorted(found.items()):
            print(_keep(Path(arguments[0]), origin, note))
    except AuditError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _keep(folder: Path, origin: str, note: bytes) -> Path:
    """Write one file, whole or not at all; an older one of the same log is replaced."""
    path = folder / (quote(origin, safe="") + SUFFIX)
    new = path.with_suffix(".new")
    try:
        new.write_bytes(note)
        new.chmod(READABLE)
        new.replace(path)
    except OSError as error:
        raise Unavailable(f"cannot write {path}: {error.strerror}") from None
    return path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
