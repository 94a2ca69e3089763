"""What to say to a query that is none: the nearest thing that its writer may have meant."""

import re
from collections.abc import Sequence
from difflib import get_close_matches

MAX_SHOWN_CHARS = 40
"""Of a word that is not understood, so much is repeated."""

_MEANT = {
    "after": "recorded:>TIME",
    "at": "recorded:TIME",
    "author": "actor:",
    "before": "recorded:<TIME",
    "by": "actor:",
    "column": "field:",
    "customer": "key:",
    "date": "recorded:",
    "dataset": "entity:",
    "event": "id:",
    "event_id": "id:",
    "partition": "log:",
    "prediction": "type:prediction key:",
    "ref": "entity:E key:K",
    "row": "key:",
    "since": "recorded:>=TIME",
    "table": "entity:",
    "time": "recorded:",
    "to": "recorded:<=TIME",
    "transaction_id": "transaction:",
    "tx": "transaction:",
    "until": "recorded:<=TIME",
    "user": "actor:, or entity:user key:",
    "valid_time": "valid:",
    "when": "recorded:",
    "who": "actor:",
    "why": "reason:",
}
"""Words of other tools, and what says it here."""
_WITHOUT_COLON = re.compile(r"-?([a-z_]+)(>=|<=|>|<|=)")
_JOINING = frozenset(("AND", "OR", "NOT", "and", "or", "not", "&&", "||", "!"))


def no_term(word: str, qualifiers: Sequence[str]) -> str:
    """Why a word is no term, and what to write."""
    word = word[:MAX_SHOWN_CHARS]
    if word in _JOINING or word[:1] in "()":
        return (
            f"{word!r} joins nothing here: all terms are to hold, several values of one qualifier "
            "are alternatives\nfor instance op:create op:delete -actor:bot"
        )
    shape = _WITHOUT_COLON.match(word)
    if shape and shape[1] in qualifiers:
        rest = word[shape.end() :]
        return (
            f"{word!r} lacks a colon; write {shape[1]}:{shape[2] if shape[2] != '=' else ''}{rest}"
        )
    entity, slash, key = word.partition("/")
    hint = f"entity:{entity} key:{key}" if slash and entity and key else f"actor:{word}"
    return f"{word!r} is no QUALIFIER:VALUE; write for instance {hint}"


def unknown_qualifier(name: str, qualifiers: Sequence[str]) -> str:
    """That there is no such qualifier, which one was perhaps meant, and all there are."""
    lower = name.lower().replace("-", "_")
    meant = f"{lower}:" if lower in qualifiers else _MEANT.get(lower)
    if meant is None:
        close = get_close_matches(lower, qualifiers, 1)
        meant = f"{close[0]}:" if close else None
    hint = "" if meant is None else f"; did you mean {meant}?"
    return f"unknown qualifier {name[:MAX_SHOWN_CHARS]}:{hint}\nknown are {', '.join(qualifiers)}"
