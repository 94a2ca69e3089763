"""The policy file beside the store: a line for the key of each log that is opened.

Whoever verifies with that file trusts the new log too; and a store that lost a log which the file
names was rolled back. Several consumers may add lines at once: a lock on the file orders them.
"""

import fcntl
import os
from pathlib import Path

from audit.errors import AuditError, FormatError, Unavailable
from audit.verify.policy import MAX_POLICY_BYTES, Policy


def names_log(path: Path, vkey: str) -> bool:
    """True when the policy file can be read and names this log key."""
    try:
        return any(known.vkey == vkey for known in Policy.from_file(path).logs)
    except AuditError:
        return False


def add_log(path: Path, vkey: str) -> bool:
    """Add the line of a log's key unless it is there; True when it was added now.

    A crash leaves the file with the whole line or without it, but for a power cut in the middle of
    one small write. Raises Unavailable when it cannot be written (none is made where there is
    none), FormatError for a file that is no policy: its owner mends it.
    """
    try:
        with open(path, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            text = file.read(MAX_POLICY_BYTES + 1)
            if any(known.vkey == vkey for known in Policy.from_text(text).logs):
                return False
            line = b"" if text.endswith(b"\n") or not text else b"\n"
            line += f"log {vkey}\n".encode()
            if len(text) + len(line) > MAX_POLICY_BYTES:
                raise FormatError(f"{path} is full: a policy has at most {MAX_POLICY_BYTES} bytes")
            file.seek(0, os.SEEK_END)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise Unavailable(f"cannot write {path}: {error.strerror}") from None
    return True
