"""The program that runs a recorded component or training again, in a process of its own.

Started by audit.lineage.again.run_rerun as

    python -I run_child.py ROOT function           one request on standard input, one reply
    python -I run_child.py ROOT script FILE ARG... the script, as __main__
    python -I run_child.py ROOT script-online ...  likewise, its ledger is behind a network

ROOT is where the package audit is. Request and reply are framed as in audit.lineage.again.runner;
the request's header is {"capsule", "model", "blobs", "arguments": [ARGUMENT, ...], "seed", "async",
"training", "environment"}; ARGUMENT is as the field ``rerun`` of a run has it, with the digest of
the bytes to make it of as "blob" (and "pickled", where the caller itself pickled a frame).
The reply: {"stage", "environment", "error", "message"}; for "done" also "outputs" (digests),
"models" (digests), "metrics", and "inputs": digests of what it was given or said that it read. An
argument that is not what its digest says is stage "inputs".

The guards (no network, no large files, no database to write to outside of the folder) stop
accidents, not an attacker: what runs is decided by the caller, by the ledger's signatures.
"""

import contextlib
import importlib
import inspect
import os
import pickle
import runpy
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Do what the command line says."""
    root, kind = sys.argv[1:3]
    sys.path.append(root)
    if kind in ("script", "script-online"):
        _guard(network=kind == "script-online")
        script = sys.argv[3]
        sys.argv = [script, *sys.argv[4:]]
        sys.path.insert(0, str(Path(script).parent))
        runpy.run_path(script, run_name="__main__")
        return
    from audit.lineage.again import runner

    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    header, blobs = runner.read_request(sys.stdin.buffer)
    _guard()
    runner.write_message(replies, _answer(header, blobs))
    runner.leave()


def _guard(network: bool = False) -> None:
    from audit.lineage.again import runner

    runner.guard(network)
    here = Path.cwd().resolve()

    def refuse(event: str, arguments: Any) -> None:
        if event != "sqlite3.connect":
            return
        database = os.fsdecode(arguments[0])
        if database in ("", ":memory:"):
            return
        read_only = database.startswith("file:") and "mode=ro" in database.partition("?")[2]
        path = Path(database.removeprefix("file:").partition("?")[0]).resolve()
        if not read_only and not path.is_relative_to(here):
            raise PermissionError(f"a replay writes to no database: {database}")

    sys.addaudithook(refuse)


def _answer(header: dict[str, Any], blobs: dict[str, bytes]) -> dict[str, Any]:
    from audit.lineage.again import runner

    try:
        runner.check_digests(blobs)
        reply = _run(header, blobs)
    except runner.Stopped as stopped:
        cause = stopped.__cause__ or stopped
        name = type(cause).__name__ if stopped.__cause__ else ""
        reply = {"stage": stopped.stage, "error": name, "message": runner.message_of(cause)}
    except Exception as error:  # a request that is not as it must be
        said = runner.message_of(error)
        reply = {"stage": "code", "error": type(error).__name__, "message": said}
    from audit.lineage.source.environment import environment

    runner.load_numeric(header["environment"])
    return {**reply, "environment": environment(header["environment"])}


def _run(header: dict[str, Any], blobs: dict[str, bytes]) -> dict[str, Any]:
    from audit.lineage.again import runner

    function = runner.Functions(header, blobs).entry()
    try:
        made = {one["name"]: _item(one, blobs) for one in header["arguments"]}
        bound = inspect.signature(function).bind_partial()
        bound.arguments.update(
            {name: made[name] for name in inspect.signature(function).parameters if name in made}
        )
    except runner.Stopped:
        raise
    except Exception as error:
        raise runner.Stopped("features") from error
    # By name, as what is captured lies below the floor of what captures; the code that is run
    # imports it itself where it says anything about its run.
    record = importlib.import_module("audit.capture.pipeline.unrecorded")

    class Noted(record.Unrecorded):  # type: ignore[misc, name-defined]
        """Also remembers what the run says it made."""

        def __init__(self) -> None:
            super().__init__()
            self.outputs: list[Any] = []
            self.inputs = _given(header["arguments"])

        def input(self, data: Any, name: str | None = None, **_: Any) -> str:
            with contextlib.suppress(Exception):  # a file of then is not here now
                thing = Path(data) if isinstance(data, str) else data
                self.inputs += _digests(thing)
            return ""

        def output(self, data: Any, name: str | None = None, **_: Any) -> str:
            self.outputs.append(data)
            return ""

    paths = [(path, _file_digest(path)) for path in made.values() if isinstance(path, Path)]
    with record.running(Noted()) as run:
        try:
            output = function(*bound.args, **bound.kwargs)
            if header["async"]:
                import asyncio

                output = asyncio.run(output)
        except Exception as error:
            return {
                "stage": "raised",
                "error": runner.error_name(error),
                "message": runner.message_of(error),
            }
    try:
        return {"stage": "done", **_made(run, output, paths, header["training"])}
    except Exception as error:
        raise runner.Stopped("output") from error


def _made(
    run: Any, output: Any, paths: list[tuple[Path, str | None]], training: bool
) -> dict[str, Any]:
    """What a run records of what it made: as `audit.capture.pipeline.component` does."""
    models = list(run.models)
    if training:
        from audit.lineage.recorded.run_inputs import MODEL, kind_of

        parts = output if isinstance(output, (tuple, list)) else (output,)
        values = output.values() if isinstance(output, dict) else parts
        known = {id(model) for model in models}
        models += [one for one in values if kind_of(one) == MODEL and id(one) not in known]
    digests = [_model_digest(model) for model in models]
    outputs = [digest for thing in run.outputs for digest in _digests(thing)]
    outputs += [digest for digest in _digests(output) if digest not in digests]
    for path, before in paths:
        digest = _file_digest(path)
        if digest is not None and digest != before:
            outputs.append(digest)
    from audit.event.valuejson import fields_to_json

    metrics = fields_to_json(run.metrics)
    return {"outputs": outputs, "models": digests, "metrics": metrics, "inputs": run.inputs}


def _given(arguments: list[dict[str, Any]]) -> list[str]:
    """The digests of the data and models among the arguments."""
    found: list[str] = []
    waiting = list(arguments)
    while waiting:
        one = waiting.pop()
        if one["is"] in ("input", "version"):
            found.append(str(one["digest"]))
        elif one["is"] in ("tuple", "list"):
            waiting.extend(one["items"])
        elif one["is"] == "dict":
            waiting.extend(item for _, item in one["items"])
    return found


def _file_digest(path: Path) -> str | None:
    from audit.lineage.recorded.run_inputs import file_digest

    return str(file_digest(path)) if path.is_file() else None


def _digests(thing: Any) -> list[str]:
    if thing is None:
        return []
    from audit.lineage.recorded.run_inputs import describe_data

    return [str(one["digest"]) for one in describe_data(thing)]


def _model_digest(model: Any) -> str:
    from audit.lineage.recorded.artifact import serialise
    from audit.store.blobs import digest_of

    return digest_of(serialise(model).data)


def _item(one: dict[str, Any], blobs: dict[str, bytes]) -> Any:
    """An argument made again. Raises whatever it raises."""
    kind = one["is"]
    if kind == "value":
        from audit.event.valuejson import from_json
        from audit.lineage.content.served import rebuild

        return rebuild(from_json(one["value"]), one["form"])
    if kind == "input":
        return _input(one, blobs)
    if kind == "path":
        return Path(Path(one["path"]).name)
    if kind == "version":
        from types import SimpleNamespace

        data = blobs[one["blob"]]
        thing = data if one["format"] == "bytes" else pickle.loads(data)
        about = {"name": one["model"], "version": one["version"], "digest": one["digest"]}
        return SimpleNamespace(**about, object=thing, load=lambda: thing)
    if kind in ("tuple", "list"):
        items = [_item(item, blobs) for item in one["items"]]
        return tuple(items) if kind == "tuple" else items
    if kind == "dict":
        return {key: _item(item, blobs) for key, item in one["items"]}
    raise ValueError(f"an argument of the kind {kind!r:.40} cannot be made again")


def _input(one: dict[str, Any], blobs: dict[str, bytes]) -> Any:
    from audit.lineage.content.kept_data import read_kept

    data = blobs[one["blob"]]
    if one["kind"] == "file":
        path = Path(Path(one.get("name") or "input").name or "input")
        path.write_bytes(data)
        _check_is(one, path, data)
        return path
    made_here = one.get("pickled") is True
    thing = pickle.loads(data) if made_here else read_kept(one["kind"], data, trusted=True)
    if one.get("series") and getattr(thing, "ndim", 1) == 2:
        thing = thing.iloc[:, 0]
    _check_is(one, thing, data)
    return thing


def _check_is(one: dict[str, Any], thing: Any, data: bytes) -> None:
    """Raise Stopped unless an argument is what its digest says: the record names its copy apart.

    What is known by its pickle may be pickled to other bytes now: there the copy's digest counts.
    """
    from audit.lineage.again import runner
    from audit.store.blobs import digest_of

    if one["digest"] != digest_of(data) and one["digest"] not in _digests(thing):
        words = f"the copy of {one.get('name')} is not the input that was recorded"
        raise runner.Stopped("inputs", words)


if __name__ == "__main__":
    main()
