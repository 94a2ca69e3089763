"""The arguments of a call as a run records them: parameters, inputs, and what makes them again.

Plain values become parameters, everything else an input known by its content. The ITEMs that are
made here are described in `audit.capture.pipeline.run_record`. Nothing here fails for what a caller
gives: what has no content to be known by is listed as an input without a digest.
"""

import contextlib
import inspect
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from audit.capture.pipeline.registering import feature_ref
from audit.capture.pipeline.run_record import RunRecorder
from audit.errors import AuditError, InvalidInput, LimitExceeded, NotFound, Unavailable
from audit.event.values import normalize_fields, to_json
from audit.lineage.again.made_features import MadeFeatures
from audit.lineage.again.runner import error_name
from audit.lineage.content.served import describe
from audit.lineage.recorded.models import ModelVersion
from audit.lineage.recorded.run_inputs import (
    FILE,
    MAX_PARTS,
    canonical,
    describe_data,
    file_digest,
    is_plain,
    kind_of,
    spelled,
)

SEEDS = ("seed", "random_state", "random_seed")
"""An integer argument of one of these names is the seed of the run."""
MAX_NESTED = 8
"""Tuples, lists and dicts inside each other that are taken apart; deeper, each is one input."""
MAX_PARAM_BYTES = 4_096
"""A longer plain value, as JSON, is an input: it is data, not a setting."""

_log = logging.getLogger("audit.capture")


class PathGiven(NamedTuple):
    """A pathlib.Path among the arguments, and the digest of the file that it named before."""

    name: str
    path: Path
    digest: str | None


class Arguments:
    """The arguments of one call, written into the run."""

    def __init__(self, run: RunRecorder, bound: inspect.BoundArguments) -> None:
        """Reads every input: what the call changes in place comes after."""
        self._run = run
        self.paths: list[PathGiven] = []
        given = dict(bound.arguments)
        self.items = [
            {**self._safely(bound.signature.parameters[name], given[name]), "name": name}
            for name in given
        ]
        bound = bound.signature.bind(*bound.args, **bound.kwargs)
        bound.apply_defaults()
        self.named: dict[str, Any] = dict(bound.arguments)
        for name, thing in self.named.items():
            if name not in given:  # the default is in the code, but it is a parameter all the same
                self._default(name, thing)
        self._seed()

    def made_files(self) -> list[dict[str, Any]]:
        """The files at given paths that are new, or others than before: what the call wrote."""
        found = []
        for given in self.paths:
            try:
                if given.path.is_file() and file_digest(given.path) != given.digest:
                    found.extend(safely_described(self._run, given.path, given.name))
            except (AuditError, OSError) as error:
                _log.warning("the file %s is not recorded: %s", given.path, error)
        return found

    def _safely(self, parameter: inspect.Parameter, thing: Any) -> dict[str, Any]:
        """One parameter's; a call does not fail for what an object's own methods raise here."""
        try:
            return self._argument(parameter, thing)
        except Exception as error:
            _log.warning("%s is recorded without a digest: %s", parameter.name, error_name(error))
            self._run.inputs.append({"name": parameter.name, "kind": None, "digest": None})
            return {"is": "missing", "why": f"{parameter.name} cannot be read"}

    def _argument(self, parameter: inspect.Parameter, thing: Any) -> dict[str, Any]:
        """One parameter's; of *args and **kwargs each one by itself, the latter by its own name."""
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            return self._container(thing, parameter.name, 0)
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            items = [
                [spelled(key), self._item(item, spelled(key), 0)] for key, item in thing.items()
            ]
            return {"is": "dict", "items": items}
        return self._item(thing, parameter.name, 0)

    def _item(self, thing: Any, name: str, depth: int) -> dict[str, Any]:
        if isinstance(thing, os.PathLike):
            return self._path(Path(thing), name)
        if isinstance(thing, ModelVersion):
            self._run.inputs.extend(describe_data(thing, name))
            return {
                "is": "version", "model": thing.name, "version": thing.version,
                "digest": thing.digest, "format": thing.format,
            }  # fmt: skip
        if isinstance(thing, MadeFeatures):
            self._run.features.append(dict(thing.definition._asdict()))
        if is_plain(thing) or self._is_setting(thing):
            found = self._parameter(thing, name)
            if found is not None:
                return found
        kind = type(thing)
        few = kind in (list, tuple, dict) and 0 < len(thing) <= MAX_PARTS
        if few and depth < MAX_NESTED and canonical(thing) is None:
            return self._container(thing, name, depth + 1)
        return self._input(thing, name)

    def _is_setting(self, thing: Any) -> bool:
        if kind_of(thing) is not None or not isinstance(thing, (list, tuple, Mapping)):
            return False
        text = canonical(thing)
        return text is not None and len(text.encode()) <= MAX_PARAM_BYTES

    def _parameter(self, thing: Any, name: str) -> dict[str, Any] | None:
        """None for a text or number that cannot be recorded exactly, or is too long."""
        text = canonical(thing)
        if text is None or len(text.encode()) > MAX_PARAM_BYTES:
            return None
        try:
            self._run.params.update(normalize_fields({name: thing}))
        except InvalidInput:
            return None
        try:
            value, form = describe(dict(thing) if isinstance(thing, MadeFeatures) else thing)
            return {"is": "value", "value": to_json(value), "form": form}
        except AuditError as error:
            return {"is": "missing", "why": f"{name}: {error!s:.200}"}

    def _default(self, name: str, thing: Any) -> None:
        with contextlib.suppress(Exception):  # as in `_safely`; what makes it again is the code
            if is_plain(thing) or self._is_setting(thing):
                self._parameter(thing, name)

    def _container(self, thing: Any, name: str, depth: int) -> dict[str, Any]:
        if isinstance(thing, dict):
            items = [
                [to_json(key), self._item(item, spelled(f"{name}.{key}"), depth)]
                for key, item in thing.items()
                if canonical(key) is not None and is_plain(key)
            ]
            if len(items) < len(thing):
                return {"is": "missing", "why": f"{name} has keys that are no plain values"}
            return {"is": "dict", "items": items}
        parts = [self._item(item, f"{name}[{index}]", depth) for index, item in enumerate(thing)]
        return {"is": "tuple" if type(thing) is tuple else "list", "items": parts}

    def _path(self, path: Path, name: str) -> dict[str, Any]:
        if path.is_file():
            item = self._input(path, name)
            self.paths.append(PathGiven(name, path, item.get("digest")))
            return item
        self.paths.append(PathGiven(name, path, None))
        self._run.params[name] = spelled(str(path))
        if spelled(str(path)) != str(path):
            return {"is": "missing", "why": f"{name} is a path that UTF-8 cannot spell"}
        return {"is": "path", "path": str(path)}

    def _input(self, thing: Any, name: str) -> dict[str, Any]:
        described = safely_described(self._run, thing, name)
        self._run.inputs.extend(described)
        first = described[0]
        if len(described) > 1 or first["digest"] is None:
            return {"is": "missing", "why": f"{name}, a {type(thing).__qualname__}, has no content"}
        return {
            "is": "input",
            "name": first["name"],
            "digest": first["digest"],
            "kind": first["kind"],
            "blob": first.get("blob_digest"),
            "series": type(thing).__name__ == "Series",
        }

    def _seed(self) -> None:
        if self._run.seed is not None:
            return
        for name in SEEDS:
            value = self._run.params.get(name)
            if type(value) is int:
                self._run.seed = value
                return


def safely_described(run: RunRecorder, thing: Any, name: str | None) -> list[dict[str, Any]]:
    """The DataRefs of something; without a digest where it has no content to be known by.

    A copy or profile that cannot be kept is noted as missing. Never raises: a pipeline does not
    stop because something in it cannot be described.
    """
    try:
        return run.described(thing, name, None)
    except (Unavailable, LimitExceeded) as error:
        run.outbox.miss(f"no copy or profile of {name} was kept: {error}")
    except (InvalidInput, NotFound) as error:
        _log.info("%s is recorded without a digest: %s", name, error)
    except Exception as error:  # whatever an object's own methods raise
        _log.warning("%s is recorded without a digest: %r", name, error)
    try:
        return describe_data(thing, name)
    except Exception:  # as above
        kind = kind_of(thing)
        path = spelled(os.fspath(thing)) if kind == FILE else None
        return [{"name": name, "kind": kind, "digest": None, "path": path}]


def feature_refs(definitions: Any) -> list[dict[str, Any]]:
    """The FeatureRefs of several definitions. Raises InvalidInput."""
    return [feature_ref(one) for one in definitions]
