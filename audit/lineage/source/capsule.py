"""What a Python function needs to run again somewhere else: its source, and what its names mean.

A *capsule* is a JSON document. It holds the function's source text and, for every global and
enclosing name that the code uses, what it is bound to::

    {"format": "attestory-capsule-v1", "entry": "0", "functions": {"0": FUNCTION, ...},
     "missing": ["score uses client, a Client: it cannot be captured", ...]}
    FUNCTION: {"name", "source", "flags", "free": [names], "globals": {name: BINDING},
               "closure": {name: BINDING}, "defaults": [BINDING], "kwdefaults": {name: BINDING}}
    BINDING: {"is": "model"}                            the artifact of the model version
             {"is": "version"}                          the ModelVersion; its .object is the model
             {"is": "module", "name", "parts": [...], "file": digest or null}
             {"is": "attribute", "module", "name"}      a function or class of an installed package
             {"is": "function", "id"}                   a function of one's own, captured likewise
             {"is": "value", "value", "form"}           see audit.lineage.content.served
             {"is": "pickle", "digest"}                 any other object, in the blob store

Nothing is guessed: the source text is taken only if compiling it gives the very code that runs, and
a name that cannot be captured is listed under ``missing``, which makes a later replay say
CODE_UNAVAILABLE. The digest of a prediction's code is the SHA-256 of the capsule's bytes.
"""

import pickle
import sys
import sysconfig
import types
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from audit.errors import AuditError
from audit.event.values import dumps, to_json
from audit.lineage.content.served import describe
from audit.lineage.source.code import find_code, global_names, is_alike, source_flags, source_of
from audit.store.blobs import digest_of

FORMAT = "attestory-capsule-v1"
MAX_FUNCTIONS = 200
"""How many functions of one's own a capsule follows."""
MAX_OBJECT_BYTES = 256 << 20
"""Largest pickled object beside the model that a capsule takes in: 256 MiB."""


class Subject(NamedTuple):
    """What the capsule knows by identity: the model, its version, and the logged function."""

    model: object
    version: object
    wrapper: object


class Capsule(NamedTuple):
    """A captured function.

    `document`: the capsule's bytes.  `blobs`: pickled objects it refers to by digest.
    `watched`: (namespace, name, object) of every captured name: when one is bound to another object
    the capsule is out of date.  `changeable`: captured values that could change in place, and as
    what they were captured.  `modules`: the top-level modules that are used.
    """

    document: bytes
    digest: str
    blobs: dict[str, bytes]
    watched: tuple[tuple[Mapping[str, object], str, object], ...]
    changeable: tuple[tuple[object, str], ...]
    missing: tuple[str, ...]
    modules: frozenset[str]

    def is_current(self) -> bool:
        """Whether every captured name still means what it meant. Costs a lookup a name."""
        for namespace, name, thing in self.watched:
            if namespace.get(name, _ABSENT) is not thing:
                return False
        return all(_fingerprint(thing) == text for thing, text in self.changeable)


_ABSENT = object()


def capture(function: Callable[..., object], subject: Subject) -> Capsule:
    """Capture a function. Never fails for what it meets: what it cannot take is in `missing`."""
    work = _Work(subject)
    entry = work.function_id(function)
    work.run()
    document = dumps_bytes(
        {
            "format": FORMAT,
            "entry": entry,
            "functions": work.functions,
            "missing": work.missing,
        }
    )
    return Capsule(
        document,
        digest_of(document),
        work.blobs,
        tuple(work.watched),
        tuple(work.changeable),
        tuple(work.missing),
        frozenset(work.modules),
    )


def dumps_bytes(document: Any) -> bytes:
    """A JSON document of plain members, in one spelling: sorted keys, compact, UTF-8."""
    import json

    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode()


class _Work:
    """One capture: functions still to be looked at, and what was found."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.functions: dict[str, dict[str, Any]] = {}
        self.missing: list[str] = []
        self.blobs: dict[str, bytes] = {}
        self.watched: list[tuple[Mapping[str, object], str, object]] = []
        self.changeable: list[tuple[object, str]] = []
        self.modules: set[str] = {_top_level(type(subject.model).__module__)}
        self._ids: dict[int, str] = {}
        self._waiting: list[tuple[str, types.FunctionType]] = []

    def function_id(self, function: Callable[..., object]) -> str:
        known = self._ids.get(id(function))
        if known is None:
            known = self._ids[id(function)] = str(len(self._ids))
            assert isinstance(function, types.FunctionType)
            self._waiting.append((known, function))
        return known

    def run(self) -> None:
        while self._waiting:
            number, function = self._waiting.pop()
            if len(self.functions) >= MAX_FUNCTIONS:
                self.missing.append(f"it reaches more than {MAX_FUNCTIONS} functions")
                return
            self.functions[number] = self._function(function)

    def _function(self, function: types.FunctionType) -> dict[str, Any]:
        code = function.__code__
        captured: dict[str, Any] = {"name": code.co_name, "source": "", "flags": source_flags(code)}
        captured["free"] = list(code.co_freevars)
        source = self._source(function)
        if source is not None:
            captured["source"] = source
        captured["globals"] = self._globals(function)
        captured["closure"] = self._closure(function)
        defaults = function.__defaults__ or ()
        captured["defaults"] = [self._binding(d, code.co_name, "a default", code) for d in defaults]
        captured["kwdefaults"] = {
            name: self._binding(default, code.co_name, name, code)
            for name, default in (function.__kwdefaults__ or {}).items()
        }
        return captured

    def _source(self, function: types.FunctionType) -> str | None:
        code = function.__code__
        try:
            # By the code object: inspect would look through a __wrapped__ at another function.
            source = source_of(code)
            flags, free = source_flags(code), tuple(code.co_freevars)
            found = None if source is None else find_code(source, code.co_name, free, flags)
        except (OSError, TypeError, SyntaxError, ValueError, IndexError, RecursionError) as error:
            self.missing.append(f"the source of {code.co_name} cannot be read: {error}")
            return None
        if found is None or not is_alike(found, code):
            self.missing.append(f"the source of {code.co_name} on disk is not the code that runs")
            return None
        return source

    def _globals(self, function: types.FunctionType) -> dict[str, Any]:
        code, namespace = function.__code__, function.__globals__
        bindings = {}
        for name in global_names(code):
            if name in namespace:
                bindings[name] = self._binding(namespace[name], code.co_name, name, code)
                self.watched.append((namespace, name, namespace[name]))
            else:
                # Built in, or not defined: a later definition makes the capsule out of date.
                self.watched.append((namespace, name, _ABSENT))
        return bindings

    def _closure(self, function: types.FunctionType) -> dict[str, Any]:
        code = function.__code__
        bindings = {}
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            view = _CellView(cell)
            thing = view.get(name, _ABSENT)
            self.watched.append((view, name, thing))
            if thing is not _ABSENT:
                bindings[name] = self._binding(thing, code.co_name, name, code)
        return bindings

    def _binding(self, thing: Any, user: str, name: str, code: types.CodeType) -> dict[str, Any]:
        subject = self.subject
        if thing is subject.model and thing is not None:
            return {"is": "model"}
        if thing is subject.version:
            return {"is": "version"}
        if thing is subject.wrapper:
            return {"is": "function", "id": "0"}
        if isinstance(thing, types.ModuleType):
            self.modules.add(_top_level(thing.__name__))
            return _module(thing, code)
        known = _installed_attribute(thing)
        if known is not None:
            self.modules.add(_top_level(known["module"]))
            return known
        if isinstance(thing, types.FunctionType):
            # Of a component what it runs, not what records it.
            inner = thing.__dict__.get("__audit_function__", thing)
            return {"is": "function", "id": self.function_id(inner)}
        inner = getattr(thing, "__dict__", {}).get("__audit_function__")
        if isinstance(inner, types.FunctionType):
            return {"is": "function", "id": self.function_id(inner)}
        return self._value(thing) or self._pickled(thing, user, name)

    def _value(self, thing: Any) -> dict[str, Any] | None:
        try:
            value, form = describe(thing)
            binding = {"is": "value", "value": to_json(value), "form": form}
        except AuditError:
            return None
        if isinstance(thing, (list, dict, tuple)) or hasattr(thing, "__array__"):
            self.changeable.append((thing, _fingerprint(thing)))
        return binding

    def _pickled(self, thing: Any, user: str, name: str) -> dict[str, Any]:
        kind = type(thing).__qualname__
        try:
            data = pickle.dumps(thing, protocol=5)
        except Exception as error:  # whatever an object's own pickling code raises
            why = f"{type(error).__name__}: {error}"
            self.missing.append(f"{user} uses {name}, a {kind}: it cannot be captured ({why:.200})")
            return {"is": "missing"}
        if len(data) > MAX_OBJECT_BYTES:
            self.missing.append(f"{user} uses {name}, a {kind} of {len(data)} bytes: too large")
            return {"is": "missing"}
        digest = digest_of(data)
        self.blobs[digest] = data
        self.modules.add(_top_level(type(thing).__module__))
        return {"is": "pickle", "digest": digest}


class _CellView(Mapping[str, object]):
    """A closure cell as a namespace of one name, so that it is watched like the others."""

    def __init__(self, cell: types.CellType) -> None:
        self._cell = cell

    def __getitem__(self, name: str) -> object:
        try:
            return self._cell.cell_contents
        except ValueError:
            raise KeyError(name) from None

    def __iter__(self) -> Any:
        return iter(())

    def __len__(self) -> int:
        return 1


def _top_level(module: str) -> str:
    return module.partition(".")[0]


def _fingerprint(thing: object) -> str:
    try:
        value, form = describe(thing)
        return dumps([value, dumps_bytes(form)])
    except AuditError:
        return ""


def _module(module: types.ModuleType, code: types.CodeType) -> dict[str, Any]:
    """A module by name, with the submodules that the code reaches through it."""
    name = module.__name__
    attributes = _attribute_names(code)
    parts = [
        loaded
        for loaded in sorted(sys.modules)
        if loaded.startswith(name + ".")
        and attributes.issuperset(loaded.split(".")[name.count(".") + 1 :])
    ]
    file = getattr(module, "__file__", None)
    digest = None
    if file is not None and not is_installed(file):
        try:
            digest = digest_of(Path(file).read_bytes())
        except OSError:
            digest = None
    return {"is": "module", "name": name, "parts": parts, "file": digest}


def _attribute_names(code: types.CodeType) -> frozenset[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _attribute_names(constant)
    return frozenset(names)


def _installed_attribute(thing: Any) -> dict[str, Any] | None:
    """A class or function that an installed module has under the name it says."""
    module_name = getattr(thing, "__module__", None)
    name = getattr(thing, "__qualname__", None) or getattr(thing, "__name__", None)
    if not isinstance(module_name, str) or not isinstance(name, str):
        return None
    module = sys.modules.get(module_name)
    if module is None or not callable(thing):
        return None
    file = getattr(module, "__file__", None)
    if module_name == "__main__" or (file is not None and not is_installed(file)):
        return None
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, _ABSENT)
    return {"is": "attribute", "module": module_name, "name": name} if found is thing else None


@cache
def is_installed(file: str) -> bool:
    """Whether a module's file belongs to Python, an installed package or this one."""
    path = Path(file).resolve()
    paths = sysconfig.get_paths()
    roots = {Path(paths[key]).resolve() for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    roots.add(Path(__file__).resolve().parents[2])  # this package: a replay always has it
    return any(path.is_relative_to(root) for root in roots)
