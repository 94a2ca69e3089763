"""The program that runs a recorded model again, in a process of its own (audit.lineage.rerun).

Started as ``python -I runner.py FOLDER``; FOLDER is where the package audit is. It reads one
request from standard input and writes one reply to standard output, both framed alike::

    8 bytes    length of the header, unsigned big-endian
    header     JSON
    blobs      the bytes of header["blobs"], one after the other (requests only)

A request's header: {"capsule": {...}, "features": fields, "call": {...}, "model": {"digest",
"format", "name", "version"}, "blobs": [{"digest", "size_bytes"}, ...]}.
A reply's header: {"stage": STAGE, "environment": {...}} and for STAGE
    done                  "value", "form": what the function returned
    raised                "error", "message": the function raised it
    artifact, environment, code, features, output
                          "error", "message": how far it came

Every blob's digest is checked here once more before anything is unpickled. Unpickling and running
recorded code is running somebody's program: the guards below (no network, no large files) stop
accidents, not an attacker. Who may run what is decided by the caller, by the ledger's signatures.
"""

import hashlib
import importlib
import inspect
import io
import json
import os
import pickle
import struct
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

MAX_MESSAGE_CHARS = 2_000
MAX_FILE_BYTES = 64 << 20
"""How large a file the program may write; larger writes fail."""

_NETWORK = frozenset(
    f"socket.{name}"
    for name in (
        "bind",
        "connect",
        "getaddrinfo",
        "gethostbyaddr",
        "gethostbyname",
        "sendmsg",
        "sendto",
    )
)


class Stopped(Exception):
    """It came as far as `stage`; the reason is the cause."""

    def __init__(self, stage: str, message: str = "") -> None:
        super().__init__(message)
        self.stage = stage


def main() -> None:
    """Serve the one request on standard input."""
    sys.path.append(sys.argv[1])  # last: it must shadow nothing that the model was made with
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the model prints must not end up in the reply
    header, blobs = read_request(sys.stdin.buffer)
    _guard()
    reply = _answer(header, blobs)
    write_message(replies, reply)


def write_message(file: BinaryIO, header: dict[str, Any], blobs: tuple[bytes, ...] = ()) -> None:
    """Write a header and blobs, framed."""
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    file.write(struct.pack(">Q", len(text)))
    file.write(text)
    for blob in blobs:
        file.write(blob)
    file.flush()


def read_request(file: BinaryIO) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Read a request: its header, and the blobs by digest."""
    size = struct.unpack(">Q", file.read(8))[0]
    header = json.loads(file.read(size))
    return header, {b["digest"]: file.read(b["size_bytes"]) for b in header["blobs"]}


def _guard() -> None:
    """Refuse the network and large files from here on."""

    def refuse(event: str, _: object) -> None:
        if event in _NETWORK:
            raise PermissionError("a replay has no network")

    sys.addaudithook(refuse)
    try:
        import resource
    except ImportError:  # not a POSIX system
        return
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_FILE_BYTES, MAX_FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _answer(header: dict[str, Any], blobs: dict[str, bytes]) -> dict[str, Any]:
    try:
        reply = _run(header, blobs)
    except Stopped as stopped:
        cause = stopped.__cause__ or stopped
        name = type(cause).__name__ if stopped.__cause__ else ""
        reply = {"stage": stopped.stage, "error": name, "message": _message(cause)}
    except Exception as error:  # a capsule that is not as it must be
        reply = {"stage": "code", "error": type(error).__name__, "message": _message(error)}
    from audit.lineage.environment import environment

    return {**reply, "environment": environment(header["call"].get("environment", {}))}


def _run(header: dict[str, Any], blobs: dict[str, bytes]) -> dict[str, Any]:
    from audit.event.values import fields_from_json, to_json
    from audit.lineage.served import describe, rebuild

    for digest, data in blobs.items():
        if "sha256:" + hashlib.sha256(data).hexdigest() != digest:
            raise Stopped("artifact", f"blob {digest} holds other bytes")
    call = header["call"]
    function = Functions(header, blobs).entry()
    try:
        features = rebuild(fields_from_json(header["features"]), call["features"])
    except Exception as error:
        raise Stopped("features") from error
    positional, named = _arguments(function, features, call["arguments"])
    try:
        output = function(*positional, **named)
    except Exception as error:
        return {"stage": "raised", "error": error_name(error), "message": _message(error)}
    try:
        value, form = describe(output)
        return {"stage": "done", "value": to_json(value), "form": form}
    except Exception as error:
        raise Stopped("output") from error


def error_name(error: BaseException) -> str:
    """An exception's type as predictions record it: with its module unless it is built in."""
    kind = type(error)
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )


def _message(error: BaseException) -> str:
    return str(error)[:MAX_MESSAGE_CHARS]


def _arguments(
    function: Callable[..., Any], features: Any, arguments: str
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    bound = inspect.signature(function).bind_partial()
    if arguments == "one":
        name = next(iter(inspect.signature(function).parameters))
        features = {name: features}
    bound.arguments.update(features)
    return bound.args, bound.kwargs


class Functions:
    """Makes the functions of a capsule again, with their names bound as they were."""

    def __init__(self, header: dict[str, Any], blobs: dict[str, bytes]) -> None:
        self._capsule = header["capsule"]
        self._model_info = header["model"]
        self._blobs = blobs
        self._made: dict[str, types.FunctionType] = {}
        self._objects: dict[str, Any] = {}

    def entry(self) -> Callable[..., Any]:
        """The logged function. Raises Stopped."""
        if self._capsule["missing"]:
            raise Stopped("code", "; ".join(self._capsule["missing"]))
        return self._function(self._capsule["entry"])

    def _function(self, number: str) -> types.FunctionType:
        from audit.lineage.code import find_code

        if number in self._made:
            return self._made[number]
        recorded = self._capsule["functions"][number]
        free = tuple(recorded["free"])
        try:
            code = find_code(recorded["source"], recorded["name"], free, recorded["flags"])
        except Exception as error:
            raise Stopped("code") from error
        if code is None:
            raise Stopped("code", f"the recorded source has no function {recorded['name']}")
        namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
        cells = {name: types.CellType() for name in free}
        closure = tuple(cells[name] for name in free)
        function = types.FunctionType(code, namespace, recorded["name"], None, closure)
        self._made[number] = function  # before its names are bound: they may lead back to it
        for name, binding in recorded["globals"].items():
            namespace[name] = self._bound(binding)
        for name, binding in recorded["closure"].items():
            cells[name].cell_contents = self._bound(binding)
        function.__defaults__ = tuple(self._bound(b) for b in recorded["defaults"]) or None
        kwdefaults = {name: self._bound(b) for name, b in recorded["kwdefaults"].items()}
        function.__kwdefaults__ = kwdefaults or None
        return function

    def _bound(self, binding: dict[str, Any]) -> Any:
        kind = binding["is"]
        if kind == "model":
            return self._model()
        if kind == "version":
            info = self._model_info
            return types.SimpleNamespace(
                name=info["name"], version=info["version"], digest=info["digest"],
                object=self._model(), load=self._model,
            )  # fmt: skip
        if kind == "function":
            return self._function(binding["id"])
        if kind == "module":
            return _import(binding)
        if kind == "attribute":
            return _attribute(binding)
        if kind == "pickle":
            return self._unpickled(binding["digest"], "code")
        if kind == "value":
            from audit.event.values import from_json
            from audit.lineage.served import rebuild

            return rebuild(from_json(binding["value"]), binding["form"])
        raise Stopped("code", f"a binding of the unknown kind {kind!r:.40}")

    def _model(self) -> Any:
        digest = self._model_info["digest"]
        if self._model_info["format"] == "bytes":
            return self._blobs[digest]
        return self._unpickled(digest, "artifact")

    def _unpickled(self, digest: str, stage: str) -> Any:
        if digest not in self._objects:
            try:
                self._objects[digest] = pickle.load(io.BytesIO(self._blobs[digest]))
            except Exception as error:
                raise Stopped(stage) from error
        return self._objects[digest]


def _import(binding: dict[str, Any]) -> types.ModuleType:
    try:
        for part in binding["parts"]:
            importlib.import_module(part)
        module = importlib.import_module(binding["name"])
    except Exception as error:
        raise Stopped("environment") from error
    recorded = binding["file"]
    if recorded is not None:
        try:
            data = Path(str(module.__file__)).read_bytes()
        except OSError as error:
            raise Stopped("code") from error
        if "sha256:" + hashlib.sha256(data).hexdigest() != recorded:
            raise Stopped("code", f"the file of module {binding['name']} is another one now")
    return module


def _attribute(binding: dict[str, Any]) -> Any:
    try:
        found: Any = importlib.import_module(binding["module"])
        for part in binding["name"].split("."):
            found = getattr(found, part)
    except Exception as error:
        raise Stopped("environment") from error
    return found


if __name__ == "__main__":
    main()
