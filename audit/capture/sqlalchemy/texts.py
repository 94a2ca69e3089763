"""SQL given as text: does it write to a captured table? When in doubt, it does."""

import re
from collections.abc import Iterable

MAX_TEXT_CHARS = 1_000_000
"""A longer statement is not looked into: it counts as a write to every captured table."""

_VERBS = re.compile(
    r"\b(INSERT|UPDATE|DELETE|REPLACE|MERGE|TRUNCATE|DROP|ALTER|COPY|CALL|DO|EXECUTE|PREPARE"
    r"|LOAD|IMPORT|WRITABLE_SCHEMA)\b",
    re.IGNORECASE,
)
_FIRST = re.compile(r"[A-Za-z]+")
_PARTS = re.compile(r""""(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'""", re.DOTALL)
_DOLLAR_QUOTE = re.compile(r"\$\w*\$")
_NO_WRITE = re.compile(
    r"\bFOR\s+(?:NO\s+KEY\s+)?UPDATE\b|\bON\s+(?:DELETE|UPDATE)\b", re.IGNORECASE
)
_DEFINES = re.compile(
    r"\s*(?:CREATE\s+(?:OR\s+REPLACE\s+)?(?:(?:TEMP|TEMPORARY|CONSTRAINT|EVENT)\s+)*"
    r"(?:TRIGGER|FUNCTION|PROCEDURE|RULE)|(?:DROP|COMMENT\s+ON)\s+(?:TRIGGER|FUNCTION|PROCEDURE"
    r"|INDEX|VIEW|MATERIALIZED|SEQUENCE|TYPE|RULE))\b",
    re.IGNORECASE,
)
_WHOLESALE = re.compile(r"\bDROP\s+(?:SCHEMA|OWNED|DATABASE)\b", re.IGNORECASE)
_CODE = frozenset({"DO", "CALL", "EXECUTE", "PREPARE"})
"""Statements whose own texts are SQL, so that their texts are looked into."""
_SCHEMA_CHANGE = re.compile(r"\b(?:CREATE|ALTER|DROP)\b", re.IGNORECASE)


def changes_schema(sql: str) -> bool:
    """True when tables may be others after it."""
    return _SCHEMA_CHANGE.search(sql[:MAX_TEXT_CHARS]) is not None


def may_write(sql: str) -> bool:
    """False for text without any word that writes."""
    return _VERBS.search(sql[:MAX_TEXT_CHARS]) is not None or len(sql) > MAX_TEXT_CHARS


class Names:
    """The names to look for in texts."""

    def __init__(self, tables: Iterable[str]) -> None:
        """`tables`: as they are in the database."""
        self._folded = {name.casefold(): name for name in tables}
        found = sorted(self._folded, key=len, reverse=True)
        pattern = "|".join(re.escape(name.replace('"', '""')) for name in found)
        self._pattern = re.compile(rf"(?<!\w)(?:{pattern})(?!\w)") if found else None

    def written(self, sql: str) -> tuple[str, tuple[str, ...]] | None:
        """The writing word and the tables that it may be about, or None when it writes to none."""
        if self._pattern is None:
            return None
        if len(sql) > MAX_TEXT_CHARS:
            return "TEXT", tuple(self._folded.values())
        code = _without_texts(sql)
        first = _FIRST.search(code)
        if first is None or _DEFINES.match(code):
            return None
        if _WHOLESALE.search(code):
            return "DROP", tuple(self._folded.values())
        word = first[0].upper()
        shown = sql if word in _CODE else _NO_WRITE.sub(" ", code)
        verbs = [verb.upper() for verb in _VERBS.findall(shown)]
        if not verbs:
            return None
        # INSERT alone cannot lead to other tables by their foreign keys.
        verb = next((each for each in verbs if each != "INSERT"), verbs[0])
        folded = shown.casefold()
        names = {self._folded[found.replace('""', '"')] for found in self._pattern.findall(folded)}
        if 'u&"' in folded:
            # A name with escapes could be any.
            names = set(self._folded.values())
        return (verb, tuple(sorted(names))) if names else None


def _without_texts(sql: str) -> str:
    """Without comments and string literals; what cannot be told apart stays."""
    if "\\'" in sql or _DOLLAR_QUOTE.search(sql):
        return sql
    return _PARTS.sub(_kept, sql)


def _kept(found: re.Match[str]) -> str:
    """A quoted name stays: within it, a quote or two dashes begin nothing."""
    part = found[0]
    return part if part[0] == '"' else "''" if part[0] == "'" else " "


def shown_tables(names: Iterable[str]) -> str:
    """Names for a message."""
    listed = [repr(name[:64]) for name in names]
    return ", ".join(listed[:3]) + (", ..." if len(listed) > 3 else "")
