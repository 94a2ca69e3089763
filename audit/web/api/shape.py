"""From types to JSON Schema: a TypedDict is an object of exactly its fields, named in components.

What stands in `Annotated` says more: a text is the description, `More` are words of JSON Schema.
"""

from collections.abc import Mapping
from enum import EnumMeta
from inspect import cleandoc
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

Schema = dict[str, Any]

_PLAIN: Mapping[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    NoneType: {"type": "null"},
    Any: {},
}


class More(dict[str, Any]):
    """Words of JSON Schema that stand in `Annotated`."""

    def __hash__(self) -> int:  # type: ignore[override]  # unions of types are sets
        return id(self)


class Shapes:
    """The objects of an API by their names: `components/schemas` of OpenAPI 3.1."""

    def __init__(self) -> None:
        """None is known yet."""
        self.named: dict[str, Schema] = {}

    def schema(self, kind: Any) -> Schema:
        """The schema of a type; that of a TypedDict is a reference. Raises TypeError."""
        origin, args = get_origin(kind), get_args(kind)
        if kind in _PLAIN:
            return dict(_PLAIN[kind])
        if is_typeddict(kind):
            return self._reference(kind)
        if isinstance(kind, EnumMeta):
            return _choice([str(one.value) for one in list[Any](kind)])
        if origin is Annotated:
            return self._annotated(args[0], args[1:])
        if origin is NotRequired:
            return self.schema(args[0])
        if origin is Literal:
            return _choice(list(args))
        if origin is list:
            return {"type": "array", "items": self.schema(args[0])}
        if origin is dict:
            return {"type": "object", "additionalProperties": self.schema(args[1]) or True}
        if origin in (Union, UnionType):
            return self._union(args)
        raise TypeError(f"no schema is known for {kind!r}")

    def _annotated(self, kind: Any, said: tuple[Any, ...]) -> Schema:
        found = self.schema(kind)
        for one in said:
            found |= {"description": one} if isinstance(one, str) else one
        return found

    def _union(self, kinds: tuple[Any, ...]) -> Schema:
        """`X | None` of a plain X is one type; of objects it is one of them."""
        found = [self.schema(kind) for kind in kinds if kind is not NoneType]
        nullable = len(found) < len(kinds)
        if len(found) == 1 and nullable and isinstance(found[0].get("type"), str):
            one = found[0]
            if "enum" in one:
                one["enum"] = [*one["enum"], None]
            return {**one, "type": [one["type"], "null"]}
        return {"oneOf": [*found, *([{"type": "null"}] if nullable else [])]}

    def _reference(self, kind: Any) -> Schema:
        name = kind.__name__.strip("_")
        if name not in self.named:
            self.named[name] = {}  # for shapes that hold themselves
            hints = get_type_hints(kind, include_extras=True)
            about = cleandoc(kind.__doc__ or "").split("\n\n")[0].replace("\n", " ")
            self.named[name] = {
                "type": "object",
                "description": about,
                "properties": {key: self.schema(one) for key, one in hints.items()},
                "required": [key for key in hints if key in kind.__required_keys__],
                "additionalProperties": False,
            }
        return {"$ref": f"#/components/schemas/{name}"}


def _choice(values: list[Any]) -> Schema:
    return {"type": "string", "enum": values}
