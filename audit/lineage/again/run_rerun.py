"""Run a recorded component or training again, in a fresh process: what it then makes, by digest.

A function gets its recorded arguments: values as they were, data from the copies in the blob store,
or replayed from the ledger at the cited point when its digest is the recorded one. A script is run
in an empty folder with its recorded arguments and the files it read that were kept; it reads the
ledger that AUDIT_STORE names, and what it records goes into a ledger of its own in that folder,
which is read afterwards and thrown away.
"""

import json
import pickle
import secrets
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from audit.errors import AuditError, FormatError, NotFound, StoreCorrupt, Unavailable
from audit.event.types import MODEL_RUN
from audit.event.valuejson import fields_from_json
from audit.lineage.again import run_child, runner
from audit.lineage.again.capsules import kept_capsule
from audit.lineage.again.recompute import cited_frame, has_digest
from audit.lineage.again.rerun import MAX_REPLY_BYTES, end, said_text, start
from audit.lineage.recorded.records import DataUse
from audit.lineage.recorded.runs import COMPLETE, FAIL, Run, find_runs
from audit.store.blobs import BlobStore, digest_of
from audit.store.contract import Reader

RUN_TIME_LIMIT_S = 3_600
"""How long a run may take when it is run again."""
MAX_ARGUMENTS = 1_000
"""How many parts the arguments of a run may have in all."""
MAX_DATA_BYTES = 2 << 30
"""How much the arguments of a run may hold in all: it is in memory twice."""
MAX_FILE_NAME_BYTES = 200
MAX_ARGV_CHARS = 100_000
_FILE_SCHEMES = ("sqlite:", "bundle:")
"""Ledgers that a script can read without a network."""


class Made(NamedTuple):
    """What came out: digests of models and outputs, and metrics. `stage`: done, or where it ended.

    `inputs`: digests of what was read, where that is known.
    """

    stage: str
    models: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    metrics: Mapping[str, Any] = {}  # never written to
    environment: Mapping[str, Any] = {}
    error: str = ""
    message: str = ""
    inputs: tuple[str, ...] | None = None


class Place(NamedTuple):
    """The ledger that a script reads, and how a ledger is opened: this floor knows no database."""

    url: str
    open: Callable[[str], Reader]


class CannotRun(Exception):
    """Why a run cannot be run again: a reason, and words."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def run_function(
    reader: Reader, blobs: BlobStore, run: Run, rerun: Mapping[str, Any], time_limit_s: float
) -> Made:
    """Run the recorded function. Raises CannotRun, Unavailable."""
    kept = kept_capsule(blobs, run.function_digest)
    if kept.problem is not None:
        raise CannotRun("CODE_UNAVAILABLE", kept.problem)
    data = dict(kept.blobs)
    arguments = rerun.get("arguments")
    if not isinstance(arguments, list):
        raise CannotRun("RECORD_UNREADABLE", "the recorded arguments are not as they must be")
    work = _Arguments(reader, blobs, run, data)
    made = [{**work.item(one), "name": str(one.get("name"))} for one in arguments]
    header = {
        "capsule": dict(kept.capsule),
        "model": {"name": "", "version": "", "digest": "", "format": "bytes"},
        "arguments": made,
        "seed": run.seed,
        "async": rerun.get("async") is True,
        "training": run.type == MODEL_RUN,
        "environment": sorted(run.environment),
        "blobs": [{"digest": name, "size_bytes": len(blob)} for name, blob in data.items()],
    }
    message = BytesIO()
    runner.write_message(message, header, tuple(data.values()))
    with _Folder() as folder:
        stage, text = folder.run(["function"], message.getvalue(), time_limit_s)
        if stage is not None:
            return Made(stage, message=text)
        return _reply(folder.out, folder.said)


class _Arguments:
    """Finds the bytes that the arguments are made of."""

    def __init__(self, reader: Reader, blobs: BlobStore, run: Run, data: dict[str, bytes]) -> None:
        self._reader = reader
        self._blobs = blobs
        self._uses = {(use.name, use.digest): use for use in run.inputs}
        self._digests = {use.digest for use in run.inputs if use.digest is not None}
        self._data = data
        self._size_bytes = 0
        self._count = 0

    def item(self, one: Any, depth: int = 0) -> dict[str, Any]:
        """One argument, with its bytes put beside. Raises CannotRun, Unavailable."""
        self._count += 1
        if not isinstance(one, dict) or self._count > MAX_ARGUMENTS or depth > 32:
            raise CannotRun("RECORD_UNREADABLE", "the recorded arguments are not as they must be")
        kind = one.get("is")
        if kind in ("value", "path"):
            return dict(one)
        try:
            if kind == "input":
                return self._input(one)
            if kind == "version":
                digest = str(one.get("digest"))
                self._add(digest, self._blobs.get(digest))
                return {**one, "blob": digest}
            if kind in ("tuple", "list"):
                return {"is": kind, "items": [self.item(i, depth + 1) for i in one["items"]]}
            if kind == "dict":
                pairs = [[key, self.item(i, depth + 1)] for key, i in one["items"]]
                return {"is": "dict", "items": pairs}
        except StoreCorrupt as error:
            raise CannotRun("INPUT_DIGEST_MISMATCH", str(error)) from None
        except Unavailable:
            raise
        except AuditError as error:
            raise CannotRun("INPUT_MISSING", str(error)) from None
        except (KeyError, TypeError, ValueError):
            raise CannotRun(
                "RECORD_UNREADABLE", "the recorded arguments are not as they must be"
            ) from None
        why = one.get("why") if kind == "missing" else f"an argument of the kind {kind!r:.40}"
        raise CannotRun("INPUT_MISSING", str(why))

    def _input(self, one: dict[str, Any]) -> dict[str, Any]:
        digest, blob = one.get("digest"), one.get("blob")
        if digest not in self._digests:
            raise CannotRun(
                "INPUT_DIGEST_MISMATCH",
                f"the argument {one.get('name')!s:.80} is none of the inputs that it recorded",
            )
        if blob is not None:
            self._add(blob, self._blobs.get(blob))
            return dict(one)
        use = self._uses.get((one.get("name"), digest))
        if use is None or not use.logs or not isinstance(digest, str):
            raise NotFound(f"the input {one.get('name')} was not kept, and cites no ledger")
        frame = _replayed(self._reader, use, digest)
        data = pickle.dumps(frame, protocol=5)
        self._add(digest_of(data), data)
        return {**one, "blob": digest_of(data), "pickled": True}

    def _add(self, digest: str, data: bytes) -> None:
        self._size_bytes += len(data)
        if self._size_bytes > MAX_DATA_BYTES:
            raise CannotRun("INPUT_MISSING", f"its inputs are more than {MAX_DATA_BYTES} bytes")
        self._data[digest] = data


def _replayed(reader: Reader, use: DataUse, digest: str) -> Any:
    try:
        frame = cited_frame(reader, use)
    except NotFound as error:
        raise CannotRun("LOG_GAP", str(error)) from None
    if not has_digest(frame, digest):
        raise CannotRun(
            "DATA_DIFFERENT",
            f"{use.entity_type} at the cited point is not the input {use.name} that was recorded "
            "(it was changed after it was replayed, and no copy was kept)",
        )
    return frame


def run_script(
    blobs: BlobStore,
    run: Run,
    rerun: Mapping[str, Any],
    place: Place,
    time_limit_s: float,
) -> Made:
    """Run the recorded script. Raises CannotRun, Unavailable."""
    name, argv = rerun.get("file"), rerun.get("argv")
    if (
        not isinstance(argv, list)
        or not all(isinstance(one, str) and "\0" not in one for one in argv)
        or sum(map(len, argv)) > MAX_ARGV_CHARS
    ):
        raise CannotRun("RECORD_UNREADABLE", "the recorded arguments are not as they must be")
    name = _file_name(name) or ""
    try:
        if run.code_digest is None:
            raise NotFound("the run was recorded without its source text")
        source = blobs.get(run.code_digest)
    except (NotFound, FormatError, StoreCorrupt) as error:
        raise CannotRun("CODE_UNAVAILABLE", str(error)) from None
    with _Folder() as folder:
        script = folder.work / (name if name.endswith(".py") else "script.py")
        script.write_bytes(source)
        _put_files(folder.work, blobs, run)
        # Under a name that no recorded file can have: it is read as what this run recorded.
        scratch = folder.work / f"scratch-{secrets.token_hex(8)}.db"
        variables = {
            "AUDIT_STORE": place.url,
            "AUDIT_BUS": f"sqlite:///{scratch}",
            "AUDIT_BLOBS": str(folder.work / "scratch-blobs"),
            "AUDIT_SPOOL": str(folder.work / "scratch-spool"),
        }
        kind = "script" if place.url.startswith(_FILE_SCHEMES) else "script-online"
        command = [kind, str(script), *argv[1:]]
        stage, text = folder.run(command, b"", time_limit_s, variables)
        found = _recorded(scratch, run, place.open)
        if found is not None:
            return found
        said = said_text(folder.said)
        return Made(stage or "raised", error="", message=text or said or "it recorded no run")


def _put_files(work: Path, blobs: BlobStore, run: Run) -> None:
    """The files that it read, as far as copies of them were kept, under the names they had."""
    for use in run.inputs:
        name = _file_name(use.path)
        if use.kind != "file" or use.blob_digest is None or name is None:
            continue
        try:
            data = blobs.get(use.blob_digest)
        except (NotFound, FormatError, StoreCorrupt):
            continue
        if not (work / name).exists():
            (work / name).write_bytes(data)


def _file_name(path: object) -> str | None:
    """The last part of a recorded path, if a file in a folder can have that name."""
    name = Path(path).name if isinstance(path, str) else ""
    fits = name.isprintable() and len(name.encode(errors="replace")) <= MAX_FILE_NAME_BYTES
    return name if fits and name not in ("", ".", "..") else None


def _recorded(scratch: Path, run: Run, open_: Callable[[str], Reader]) -> Made | None:
    """What the script recorded as its run of this name; None when there is none."""
    from audit.replay.points import resolve

    if not scratch.exists():
        return None
    try:
        with open_(f"sqlite:///{scratch}") as reader:
            runs = [one for one in find_runs(reader, resolve(reader, None, 0))]
    except AuditError:
        return None
    same = [
        one
        for one in runs
        if (one.name, one.type) == (run.name, run.type) and one.status in (COMPLETE, FAIL)
    ]
    if not same:
        return None
    # A script may have several runs of one name: the one that made most of the same is meant.
    wanted = {model.digest for model in run.models} | {use.digest for use in run.outputs}
    found = max(same, key=lambda one: len(wanted & {model.digest for model in one.models}))
    return Made(
        "done" if found.status == COMPLETE else "raised",
        tuple(str(model.digest) for model in found.models),
        tuple(str(use.digest) for use in found.outputs),
        found.metrics,
        found.environment,
        (found.error or "").partition(":")[0],
        found.error or "",
        tuple(str(use.digest) for use in found.inputs),
    )


class _Folder:
    """A temporary folder with a process in it."""

    def __enter__(self) -> "_Folder":
        self._kept = tempfile.TemporaryDirectory(prefix="replay-", ignore_cleanup_errors=True)
        root = Path(self._kept.name)
        self.work = root / "work"
        self.work.mkdir()
        self.out: BinaryIO = open(root / "reply", "w+b")  # closed by __exit__
        self.said: BinaryIO = open(root / "said", "w+b")
        return self

    def __exit__(self, *_: object) -> None:
        self.out.close()
        self.said.close()
        self._kept.cleanup()

    def run(
        self,
        what: list[str],
        message: bytes,
        time_limit_s: float,
        variables: Mapping[str, str] | None = None,
    ) -> tuple[str | None, str]:
        """Run the program to its end. (None, "") if it went well, else the stage and words."""
        program = Path(run_child.__file__).resolve()
        command = [sys.executable, "-I", str(program), str(program.parents[3]), *what]
        process = start(command, self.work, self.out, self.said, variables)
        try:
            process.communicate(message, timeout=time_limit_s)
        except subprocess.TimeoutExpired:
            return "time", f"not done within {time_limit_s:g} s"
        finally:
            end(process)
        if process.returncode < 0:
            return "process", f"it was ended by signal {-process.returncode}"
        return None, ""


def _reply(out: BinaryIO, said: BinaryIO) -> Made:
    out.seek(0)
    try:
        (size,) = struct.unpack(">Q", out.read(8))
        header = json.loads(out.read(min(size, MAX_REPLY_BYTES)))
        environment = dict(header["environment"])
        if header["stage"] != "done":
            stage, error = str(header["stage"]), str(header["error"])
            return Made(stage, (), (), {}, environment, error, str(header["message"]))
        return Made(
            "done",
            tuple(map(str, header["models"])),
            tuple(map(str, header["outputs"])),
            {name: float(value) for name, value in fields_from_json(header["metrics"]).items()},  # type: ignore[arg-type]
            environment,
            inputs=tuple(map(str, header["inputs"])),
        )
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        struct.error,
        RecursionError,
        OverflowError,
    ):
        return Made("process", message=f"it gave no answer {said_text(said)}")
