"""Which dataset a table's rows belong to, and which table two of them must not share."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from audit.errors import FormatError, InvalidInput
from audit.event.envelope_form import MAX_TYPE_BYTES, NAME, RESERVED_ENTITY_TYPES
from audit.event.shown import shown

DEFAULT_TEMPLATE = "{table}"
MAX_RULES = 5_000
MAX_TABLES = 5_000
"""How many tables of one run are remembered: a hostile topic can make up any number."""

_PLACES = re.compile(r"\{(server|db|schema|table)\}")


class TableName(NamedTuple):
    """A table as a source block names it; what its database does not have is empty."""

    server: str
    db: str
    schema: str
    table: str

    def __str__(self) -> str:
        """As people write it."""
        return ".".join(part for part in self if part)


class Entities:
    """The rules `--entity` says: TABLE=NAME for some, one template for the others."""

    def __init__(self, rules: Iterable[str] = ()) -> None:
        """TABLE may be `orders`, `public.orders`, up to server.db.schema.orders.

        A template is made of {server}, {db}, {schema}, {table}; the default is {table}. Raises
        InvalidInput.
        """
        self._named: dict[str, str] = {}
        self._template: str | None = None
        self._tables: dict[str, TableName] = {}
        for count, rule in enumerate(rules):
            if count >= MAX_RULES:
                raise InvalidInput(f"more than {MAX_RULES} rules for datasets")
            table, equals, name = rule.rpartition("=")
            if not equals:
                self._set_template(rule)
            elif not table or not is_dataset(name):
                raise InvalidInput(f"{rule[:80]!r}: write TABLE=dataset, a-z 0-9 _ . - in its name")
            else:
                self._named[table] = name

    def _set_template(self, rule: str) -> None:
        if self._template is not None:
            raise InvalidInput("there is one template for the names of datasets")
        if not _PLACES.search(rule) or {"{", "}"} & set(_PLACES.sub("", rule)):
            raise InvalidInput(
                f"{rule[:80]!r} names no table: use {{server}} {{db}} {{schema}} {{table}}, "
                "or TABLE=dataset"
            )
        self._template = rule

    def of(self, table: TableName) -> str:
        """The dataset of a table; names are made lower case. Raises FormatError."""
        parts = [part for part in table if part]
        for start in range(len(parts)):
            name = self._named.get(".".join(parts[start:]))
            if name is not None:
                return name
        template = self._template or DEFAULT_TEMPLATE
        name = _PLACES.sub(lambda place: getattr(table, place[1]), template).lower()
        if not is_dataset(name):
            raise FormatError(
                f"table {str(table)[:128]!r} gives no name of a dataset: say --entity "
                f"{shown(table.table)}=NAME"
            )
        first = self._tables.get(name, table)
        if first != table:
            # Their keys would be mixed into one, and nobody could take them apart again.
            raise FormatError(
                f"tables {str(first)[:128]!r} and {str(table)[:128]!r} are both dataset {name!r}: "
                "say --entity with {schema} or {db} in it, or TABLE=NAME"
            )
        if len(self._tables) < MAX_TABLES:
            self._tables[name] = table
        return name


def is_dataset(name: str) -> bool:
    """True for what data events may have as their entity type."""
    fits = NAME.fullmatch(name) is not None and len(name) <= MAX_TYPE_BYTES
    return fits and name not in RESERVED_ENTITY_TYPES
