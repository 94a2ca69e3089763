"""Gaps: what could not be recorded because no emitter could be opened, kept until one can.

An open emitter needs none of this: it has its spool. A *gap file* lies in the spool's folder,
``gap-<run id>.json``: {"format": "attestory-gap-v1", "events": [EVENT, ...]}, each event in its
JSON form. Where nothing can be written there it lies in the user's state folder, in
``attestory/gaps/<SHA-256 of where the spool would be>``. The next run that reaches the log emits
them and deletes the file. A run in it has the
status ABORT and says why it was not recorded when it was made. What is true after a crash between
the two: it is emitted again, and dropped as a duplicate.
"""

import hashlib
import json
import logging
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from audit.capture.delivery.bus import spool_folder, state_folder
from audit.capture.emitter import Emitter
from audit.errors import AuditError, InvalidInput

FORMAT = "attestory-gap-v1"
MAX_GAP_BYTES = 4 << 20
"""Larger gap files are not ours."""
MAX_GAP_FILES = 1_000
"""How many are emitted at once; the others are when the next run ends."""
_NAME_DIGITS = 32

_log = logging.getLogger("audit.capture")


def keep(bus: str, run_id: str, events: Sequence[Mapping[str, Any]]) -> Path | None:
    """Write the gap file of a run; where that fails too, say so. Never raises."""
    problem: Exception | None = None
    for folder in _folders(bus):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"gap-{run_id}.json"
            temporary = folder / f".tmp-{secrets.token_hex(8)}"
            temporary.write_text(json.dumps({"format": FORMAT, "events": list(events)}))
            os.replace(temporary, path)
            return path
        except (OSError, ValueError, TypeError) as error:
            problem = error
    _log.error("run %s is recorded nowhere: %s", run_id, problem)
    return None


def _folders(bus: str) -> list[Path]:
    """Where the gaps of a bus may lie, in the order in which they are tried."""
    try:
        first = spool_folder(bus)
        named = hashlib.sha256(os.fsencode(first.absolute())).hexdigest()[:_NAME_DIGITS]
        return [first, state_folder() / "gaps" / named]
    except (OSError, AuditError):
        return []


def deliver(emitter: Emitter) -> int:
    """Emit what gap files hold, and delete them; how many there were. Never raises."""
    return sum(_deliver(emitter, folder) for folder in _folders(emitter.bus))


def _deliver(emitter: Emitter, folder: Path) -> int:
    try:
        paths = sorted(folder.glob("gap-*.json"))[:MAX_GAP_FILES]
    except OSError:
        return 0
    done = []
    for path in paths:
        try:
            for event in _events(path):
                emitter.emit(event)
            done.append(path)
        except FileNotFoundError:
            continue  # another run was faster
        except InvalidInput as error:
            _log.error("%s is no gap file, and stays: %s", path, error)
            _set_aside(path)
        except (OSError, AuditError) as error:
            _log.warning("%s is still to be recorded: %s", path, error)
            break
    if done:
        try:
            emitter.flush()
            for path in done:
                path.unlink(missing_ok=True)
        except (OSError, AuditError) as error:
            _log.warning("gap files in %s are still to be recorded: %s", folder, error)
            return 0
    return len(done)


def _events(path: Path) -> list[Any]:
    with open(path, "rb") as file:
        data = file.read(MAX_GAP_BYTES + 1)
    if len(data) > MAX_GAP_BYTES:
        raise InvalidInput(f"over {MAX_GAP_BYTES} bytes")
    try:
        said = json.loads(data)
        if said["format"] != FORMAT or not isinstance(said["events"], list):
            raise ValueError(f"its format is not {FORMAT}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidInput(f"{error!r:.200}") from error
    return list(said["events"])


def _set_aside(path: Path) -> None:
    try:
        path.rename(path.with_suffix(".bad"))
    except OSError as error:
        _log.error("%s cannot be renamed: %s", path, error)
