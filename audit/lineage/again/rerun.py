"""Run a recorded function with its model again, in a fresh process, and hand back what came out.

One process answers one call, or many calls of the same function, one after the other.

The process: the same interpreter in isolated mode (no PYTHON* variables, no user packages, not the
current folder), an empty temporary folder as its current one, only harmless variables of the
environment, no network, and a time limit; see audit.lineage.again.runner for what runs in it.
"""

import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from audit.errors import Unavailable
from audit.event.values import Value, fields_to_json, from_json
from audit.lineage.again import runner
from audit.lineage.content.forms import Form, Served

TIME_LIMIT_S = 120
"""How long one replay may take, with loading the model and its packages."""
TIME_LIMIT_OF_MANY_S = 3_600
"""How long one process may take for all its calls; each by itself is limited as one replay is."""
MAX_CALLS = 1_000
"""How many calls one process is given."""
MAX_HANGS = 20
"""After so many calls of a function that did not end in time the rest are not begun."""
MAX_REPLY_BYTES = 16 << 20
MAX_SHOWN_CHARS = 500
"""How much of what the process printed is shown when it died."""

_KEPT_VARIABLES = frozenset(("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH"))
_KEPT_ENDING = "_NUM_THREADS"
"""How many threads share a sum decides its last bit: OMP_NUM_THREADS and the like are kept."""


class Request(NamedTuple):
    """What to run: all of it recorded, and every blob already checked against its digest.

    `seed`: set before the call. `frames`: for a feature definition, dataset -> digest of a data
    frame among the blobs that this process pickled itself. `batch`: the digest of the rows, which
    are among the blobs, where they are the features.
    """

    capsule: dict[str, Any]
    features: Mapping[str, Value]
    call: Mapping[str, Any]
    model_name: str
    model_version: str
    model_digest: str
    model_format: str
    blobs: Mapping[str, bytes]
    seed: int | None = None
    frames: Mapping[str, str] | None = None
    batch: str | None = None


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
    return rerun_many([request], time_limit_s)[0]


def rerun_many(requests: Sequence[Request], time_limit_s: float = TIME_LIMIT_S) -> list[Reply]:
    """Answer several calls of one function in one process; a reply for each.

    Function, model and blobs are those of the first request. Where the process dies or hangs, that
    is the reply to the call it was at, and a further process goes on after it.
    Raises Unavailable only when no process can be started.
    """
    replies: list[Reply] = []
    hangs = 0
    while len(replies) < len(requests):
        if hangs >= MAX_HANGS:
            words = f"it was not begun, as {hangs} other calls of this code did not end in time"
            return replies + [stopped("time", words)] * (len(requests) - len(replies))
        some = requests[len(replies) : len(replies) + MAX_CALLS]
        replies.extend(_in_one_process(some, time_limit_s))
        hangs += replies[-1].stage == "time"
    return replies


def _in_one_process(requests: Sequence[Request], time_limit_s: float) -> list[Reply]:
    """The replies of one process, at least one."""
    header, blobs = _framed(requests)
    message = BytesIO()
    runner.write_message(message, header, blobs)
    root = str(Path(runner.__file__).resolve().parents[3])
    command = [sys.executable, "-I", str(Path(runner.__file__).resolve()), root]
    # Something that got away from `end` may still write there: that is no reason to fail.
    with tempfile.TemporaryDirectory(prefix="replay-", ignore_cleanup_errors=True) as folder:
        work = Path(folder, "work")
        work.mkdir()
        with open(Path(folder, "reply"), "w+b") as reply, open(Path(folder, "said"), "w+b") as said:
            process = start(command, work, reply, said)
            late = None
            try:
                late = _wait(process, message.getvalue(), reply, time_limit_s, len(requests) > 1)
            finally:
                end(process)
            replies = _parse(reply, len(requests))
            if len(replies) < len(requests) and not (replies and late == _ALL_TOOK_LONG):
                replies.append(late or _died(said, process.returncode))
            return replies


def start(
    command: Sequence[str],
    work: Path,
    out: BinaryIO,
    said: BinaryIO,
    variables: Mapping[str, str] | None = None,
) -> "subprocess.Popen[bytes]":
    """Start a process in a folder of its own, with harmless variables only. Raises Unavailable."""
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=said,
            cwd=work,
            env={**_kept_variables(), "HOME": str(work), "TMPDIR": str(work), **(variables or {})},
            start_new_session=True,
        )
    except OSError as error:
        raise Unavailable(f"no process can be started for the replay: {error}") from error


def _wait(
    process: "subprocess.Popen[bytes]",
    message: bytes,
    reply: BinaryIO,
    time_limit_s: float,
    many: bool,
) -> Reply | None:
    """Wait for the end; a reply that says so when a call took too long."""
    begin = last = time.monotonic()
    seen_bytes = 0
    given: bytes | None = message
    while True:
        left = last + time_limit_s - time.monotonic()
        try:
            process.communicate(given, timeout=min(left, 1.0) if many else left)
            return None
        except subprocess.TimeoutExpired:
            given = None
        now = time.monotonic()
        size_bytes = os.fstat(reply.fileno()).st_size
        if many and size_bytes > seen_bytes:
            seen_bytes, last = size_bytes, now
        if now >= last + time_limit_s:
            return stopped("time", f"not done within {time_limit_s:g} s")
        if many and now >= begin + TIME_LIMIT_OF_MANY_S:
            return _ALL_TOOK_LONG


def _kept_variables() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT_VARIABLES or name.endswith(_KEPT_ENDING)
    }


def end(process: "subprocess.Popen[bytes]") -> None:
    """End the process and whatever it started: they are a session of their own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _framed(requests: Sequence[Request]) -> tuple[dict[str, Any], tuple[bytes, ...]]:
    first = requests[0]
    blobs = dict(first.blobs)
    header = {
        "capsule": first.capsule,
        "model": {
            "name": first.model_name,
            "version": first.model_version,
            "digest": first.model_digest,
            "format": first.model_format,
        },
        "calls": [
            {
                "features": fields_to_json(request.features),
                "call": dict(request.call),
                "seed": request.seed,
                "frames": None if request.frames is None else dict(request.frames),
                "batch": request.batch,
            }
            for request in requests
        ],
        "blobs": [{"digest": name, "size_bytes": len(data)} for name, data in blobs.items()],
    }
    return header, tuple(blobs.values())


def _parse(reply: BinaryIO, count: int) -> list[Reply]:
    """The whole replies in the file, `count` at most."""
    reply.seek(0)
    found: list[Reply] = []
    while len(found) < count:
        head = reply.read(8)
        if len(head) < 8:
            break
        (size,) = struct.unpack(">Q", head)
        data = reply.read(min(size, MAX_REPLY_BYTES + 1))
        if len(data) != size or size > MAX_REPLY_BYTES:
            break
        try:
            found.append(_reply(json.loads(data)))
        except (
            ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError,
        ):  # fmt: skip
            break
    return found


def _reply(header: Any) -> Reply:
    stage = str(header["stage"])
    environment = {str(name): str(said) for name, said in dict(header["environment"]).items()}
    if stage != "done":
        return Reply(stage, None, str(header["error"]), str(header["message"]), environment)
    form: Form = header["form"]
    if not isinstance(form, dict | None):
        raise TypeError("a form is an object or null")
    if "rows" in header:
        answers = [from_json(one) for one in header["rows"]]
        return Reply(stage, Served(answers, form), "", "", environment)
    return Reply(stage, Served(from_json(header["value"]), form), "", "", environment)


def _died(said: BinaryIO, return_code: int) -> Reply:
    text = said_text(said)
    ended = f"it was ended by signal {-return_code}" if return_code < 0 else "it gave no answer"
    return stopped("process", f"{ended}{': ' + text if text else ''}")


def said_text(said: BinaryIO) -> str:
    """The end of what a process printed."""
    said.seek(0)
    return said.read(1 << 20).decode(errors="replace").strip()[-MAX_SHOWN_CHARS:]


def stopped(stage: str, message: str) -> Reply:
    """A reply without an output."""
    return Reply(stage, None, "", message, {})


_ALL_TOOK_LONG = stopped("time", f"the calls before it took {TIME_LIMIT_OF_MANY_S:g} s")
"""The call at hand is not to blame, unless it was the first."""
