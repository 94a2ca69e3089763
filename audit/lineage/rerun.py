"""Run a recorded function with its model again, in a fresh process, and hand back what came out.

The process: the same interpreter in isolated mode (no PYTHON* variables, no user packages, not the
current folder), an empty temporary folder as its current one, only harmless variables of the
environment, no network, and a time limit; see audit.lineage.runner for what runs in it.
"""

import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from audit.errors import Unavailable
from audit.event.values import Value, fields_to_json, from_json
from audit.lineage import runner
from audit.lineage.forms import Form, Served

TIME_LIMIT_S = 120
"""How long one replay may take, with loading the model and its packages."""
MAX_REPLY_BYTES = 16 << 20
MAX_SHOWN_CHARS = 500
"""How much of what the process printed is shown when it died."""

_KEPT_VARIABLES = frozenset(("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH"))
_KEPT_ENDING = "_NUM_THREADS"
"""How many threads share a sum decides its last bit: OMP_NUM_THREADS and the like are kept."""


class Request(NamedTuple):
    """What to run: all of it recorded, and every blob already checked against its digest."""

    capsule: dict[str, Any]
    features: Mapping[str, Value]
    call: Mapping[str, Any]
    model_name: str
    model_version: str
    model_digest: str
    model_format: str
    blobs: Mapping[str, bytes]


class Reply(NamedTuple):
    """How it went. `stage` is done, raised, or where it stopped: artifact, environment, code,
    features, output, time (limit reached), process (it died).
    """

    stage: str
    output: Served | None
    error: str
    message: str
    environment: dict[str, str]


def rerun(request: Request, time_limit_s: float = TIME_LIMIT_S) -> Reply:
    """Run it once. Raises Unavailable only when no process can be started."""
    header, blobs = _framed(request)
    message = BytesIO()
    runner.write_message(message, header, blobs)
    root = str(Path(runner.__file__).resolve().parents[2])
    command = [sys.executable, "-I", str(Path(runner.__file__).resolve()), root]
    with tempfile.TemporaryDirectory(prefix="replay-") as folder:
        work = Path(folder, "work")
        work.mkdir()
        with open(Path(folder, "reply"), "w+b") as reply, open(Path(folder, "said"), "w+b") as said:
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=reply,
                    stderr=said,
                    cwd=work,
                    env={**_kept_variables(), "HOME": str(work), "TMPDIR": str(work)},
                    start_new_session=True,
                )
            except OSError as error:
                raise Unavailable(f"no process can be started for the replay: {error}") from error
            try:
                process.communicate(message.getvalue(), timeout=time_limit_s)
            except subprocess.TimeoutExpired:
                return _stopped("time", f"not done within {time_limit_s:g} s")
            finally:
                _end(process)
            return _parse(reply, said, process.returncode)


def _kept_variables() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT_VARIABLES or name.endswith(_KEPT_ENDING)
    }


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the process and whatever it started: they are a session of their own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _framed(request: Request) -> tuple[dict[str, Any], tuple[bytes, ...]]:
    blobs = dict(request.blobs)
    header = {
        "capsule": request.capsule,
        "features": fields_to_json(request.features),
        "call": dict(request.call),
        "model": {
            "name": request.model_name,
            "version": request.model_version,
            "digest": request.model_digest,
            "format": request.model_format,
        },
        "blobs": [{"digest": name, "size_bytes": len(data)} for name, data in blobs.items()],
    }
    return header, tuple(blobs.values())


def _parse(reply: BinaryIO, said: BinaryIO, return_code: int) -> Reply:
    reply.seek(0)
    data = reply.read(MAX_REPLY_BYTES + 1)
    try:
        (size,) = struct.unpack(">Q", data[:8])
        if size != len(data) - 8:
            raise ValueError("not one whole reply")
        header = json.loads(data[8:])
        stage, environment = str(header["stage"]), dict(header["environment"])
        if stage != "done":
            return Reply(stage, None, str(header["error"]), str(header["message"]), environment)
        form: Form = header["form"]
        return Reply(stage, Served(from_json(header["value"]), form), "", "", environment)
    except (ValueError, KeyError, TypeError, struct.error, RecursionError):
        said.seek(0)
        text = said.read(1 << 20).decode(errors="replace").strip()[-MAX_SHOWN_CHARS:]
        ended = f"it was ended by signal {-return_code}" if return_code < 0 else "it gave no answer"
        return _stopped("process", f"{ended}{': ' + text if text else ''}")


def _stopped(stage: str, message: str) -> Reply:
    return Reply(stage, None, "", message, {})
