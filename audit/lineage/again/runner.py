"""The program that runs a recorded model again, in a process of its own (see `rerun`).

Started as ``python -I runner.py FOLDER``; FOLDER is where the package audit is. It reads one
request from standard input and writes replies to standard output, all framed alike::

    8 bytes    length of the header, unsigned big-endian
    header     JSON
    blobs      the bytes of header["blobs"], one after the other (requests only)

A request's header: {"capsule": {...}, "model": {"digest", "format", "name", "version"},
"blobs": [{"digest", "size_bytes"}, ...], "calls": [{"features": fields, "call": {...},
"seed": number or null, "frames": {dataset: digest} or null,
"batch": digest of the rows (audit.lineage.recorded.batch) or null}, ...]}. Function and model are
made once; then each call is answered by one reply. With "frames" the function is a feature
definition: it is called with the data frames (pickled by the caller), and "features" holds its
request. A reply's header: {"stage": STAGE, "environment": {...}} and for STAGE
    done                  "value", "form": what the function returned; "rows" for a batch
    raised                "error", "message": the function raised it
    artifact, environment, code, features, output
                          "error", "message": how far it came

Every blob's digest is checked here once more before anything is unpickled. Unpickling and running
recorded code is running somebody's program, with this user's rights to files: the guards below (no
network, on Linux for other programs and libraries in C too; no large files) stop accidents. Who may
run what is decided by the caller, by the ledger's signatures.
"""

import contextlib
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
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

MAX_MESSAGE_CHARS = 2_000
MAX_FILE_BYTES = 256 << 20
"""How large a file the program may write; larger writes fail. The replies are one."""

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
    """Serve the request on standard input."""
    sys.path.append(sys.argv[1])  # last: it must shadow nothing that the model was made with
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the model prints must not end up in the reply
    header, blobs = read_request(sys.stdin.buffer)
    guard()
    for reply in answers(header, blobs):
        write_message(replies, reply)
    leave()


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


def leave() -> None:
    """End this process now: a thread that the model left behind must not keep it."""
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    os._exit(0)


def guard(network: bool = False) -> None:
    """Refuse large files, and the network, from here on.

    With `network` only Python's own sockets are refused: the driver of a database server, which is
    in C, still reaches the ledger.
    """
    from audit.lineage.again.no_network import refuse_sockets

    if not network:
        refuse_sockets()

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


def answers(header: dict[str, Any], blobs: dict[str, bytes]) -> Iterator[dict[str, Any]]:
    """A reply for each call."""
    surroundings = _Surroundings()
    function: Callable[..., Any] | None = None
    functions = Functions(header, blobs)
    for call in header["calls"]:
        try:
            if function is None:
                check_digests(blobs)
                function = functions.entry()
            reply = _run(function, call, blobs)
        except Stopped as stopped:
            cause = stopped.__cause__ or stopped
            name = type(cause).__name__ if stopped.__cause__ else ""
            reply = {"stage": stopped.stage, "error": name, "message": message_of(cause)}
        except Exception as error:  # a capsule that is not as it must be
            reply = {"stage": "code", "error": type(error).__name__, "message": message_of(error)}
        yield {**reply, "environment": surroundings.of(call["call"].get("environment") or {})}


class _Surroundings:
    """The environment of this process, by the names that were recorded; looked up once."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, ...], dict[str, str]] = {}

    def of(self, recorded: dict[str, Any]) -> dict[str, str]:
        from audit.lineage.source.environment import environment

        names = tuple(sorted(recorded))
        if names not in self._found:
            load_numeric(names)
            self._found[names] = environment(names)
        return self._found[names]


def load_numeric(names: Iterable[str]) -> None:
    """Load the numeric libraries that were there: only then is it known what computes for them."""
    if "blas" not in names:
        return
    if "numpy" in names:
        with contextlib.suppress(Exception):
            importlib.import_module("numpy")
    if "scipy" in names:
        from audit.lineage.source.environment import load_blas_of_scipy

        load_blas_of_scipy()


def check_digests(blobs: dict[str, bytes]) -> None:
    """Raise Stopped unless every blob has its digest."""
    for digest, data in blobs.items():
        if "sha256:" + hashlib.sha256(data).hexdigest() != digest:
            raise Stopped("artifact", f"blob {digest} holds other bytes")


def _run(
    function: Callable[..., Any], request: dict[str, Any], blobs: dict[str, bytes]
) -> dict[str, Any]:
    from audit.event.values import fields_from_json, to_json
    from audit.lineage.content.served import describe, rebuild

    call = request["call"]
    chunks: Any = None
    try:
        if request.get("batch") is not None:
            from audit.lineage.again import batch_child

            thing, chunks = batch_child.given(blobs[request["batch"]])
            positional, named = _arguments(function, thing, "one")
        features = rebuild(fields_from_json(request["features"]), call["features"])
        if request["frames"] is not None:
            frames = {name: pickle.loads(blobs[d]) for name, d in request["frames"].items()}
    except Exception as error:
        raise Stopped("features") from error
    if chunks is not None:
        pass
    elif request["frames"] is None:
        positional, named = _arguments(function, features, call["arguments"])
    else:
        positional, named = (frames, features["request"]), {}
    if request["seed"] is not None:
        set_seed(request["seed"])
    try:
        output = function(*positional, **named)
        if inspect.iscoroutine(output):
            import asyncio

            output = asyncio.run(output)
    except Exception as error:
        return {"stage": "raised", "error": error_name(error), "message": message_of(error)}
    if request["frames"] is not None:
        output = dict(output)
    try:
        if chunks is not None:
            return batch_child.answered(output, chunks)
        value, form = describe(output)
        return {"stage": "done", "value": to_json(value), "form": form}
    except Exception as error:
        raise Stopped("output") from error


def set_seed(seed: int) -> None:
    """Begin the random numbers of Python, and of NumPy where it is loaded, at a recorded seed."""
    import random

    random.seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None and 0 <= seed < 1 << 32:
        numpy.random.seed(seed)


def error_name(error: BaseException) -> str:
    """An exception's type as predictions record it: with its module unless it is built in."""
    kind = type(error)
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )


def words_of(error: BaseException) -> str:
    """What an exception says, in what UTF-8 can spell. Never raises, whatever its own text does."""
    try:
        return str(error).encode("utf-8", "backslashreplace").decode()
    except Exception as problem:
        return f"(its text cannot be read: {type(problem).__qualname__})"


def message_of(error: BaseException) -> str:
    """What an exception says, as long as a reply takes it."""
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
        from audit.lineage.source.code import find_code

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
            from audit.lineage.content.served import rebuild

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
