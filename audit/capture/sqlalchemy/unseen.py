"""Writes that cannot be followed: what is said of them, and where in a statement they may stand."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.selectable import SelectBase, TextualSelect


class Unseen(NamedTuple):
    """One write: its word, the entity types and tables it is about, and why."""

    verb: str
    entity_types: Sequence[str]
    tables: Sequence[str]
    why: str

    def details(self, table: str) -> dict[str, Any]:
        """What the gap's event says: never a value, nor the text itself, which may hold some."""
        return {"statement": self.verb, "table": table, "why": self.why}


class Hidden(NamedTuple):
    """What of a statement is to be looked into."""

    is_text: bool
    statements: Sequence[Any]


def text_in(context: Any) -> Hidden | None:
    """What of an execution only `before_cursor_execute` sees; None for a plain SELECT."""
    compiled = context.compiled
    if compiled is None:
        return Hidden(True, ())
    statement = getattr(compiled, "statement", None)
    if not isinstance(statement, SelectBase | UpdateBase) or isinstance(statement, TextualSelect):
        return Hidden(True, ())
    found = [statement] if isinstance(statement, UpdateBase) else []
    for cte in getattr(compiled, "ctes", None) or ():
        inner = cte.element
        if isinstance(inner, TextualSelect):
            return Hidden(True, ())
        if isinstance(inner, UpdateBase):
            found.append(inner)
    return Hidden(False, found) if found else None
