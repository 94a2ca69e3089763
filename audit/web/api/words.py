"""What the shapes of answers are made of: a time, a hash, a value, a place in a log."""

from typing import Annotated, Any, TypedDict

from audit.web.api.shape import More

Time = Annotated[
    str,
    More({"format": "date-time", "examples": ["2026-01-31T10:00:00.000000Z"]}),
    "A time, RFC 3339 in UTC, to the microsecond.",
]
Hash = Annotated[
    str,
    More({"pattern": "^[0-9a-f]{64}$", "examples": ["9f86d081884c7d659a2feaa0c55ad015" * 2]}),
    "32 bytes in hex: SHA-256.",
]
Digest = Annotated[
    str,
    More({"examples": ["sha256:" + "0" * 64]}),
    "What a content is known by: the method, and hex.",
]
VALUE = {
    "description": 'A recorded value: any JSON. What JSON lacks is {"$decimal": "1.50"}, '
    '{"$bytes": "base64"}, {"$timestamp": "..."}, {"$date": "..."} or {"$double": "NaN"}.',
    "examples": ["ISR", 250000, {"$decimal": "1.50"}],
}
"""The schema of a value, which stands in the components under its name."""

Value = Annotated[Any, More({"$ref": "#/components/schemas/Value"})]
Fields = Annotated[
    dict[str, Value],
    "Recorded values by name; a name that begins with $ has a second one in front.",
]
Number = Annotated[Value, 'A number or null; {"$double": "NaN"} for what JSON has no word for.']
Log = Annotated[int, More({"minimum": 0, "examples": [0]}), "Number of the log."]
Index = Annotated[
    int, More({"minimum": 0, "examples": [42]}), "Where in its log the entry is; the first is 0."
]
Size = Annotated[int, More({"minimum": 0, "examples": [1042]}), "Entries of a log."]
Count = Annotated[int, More({"minimum": 0})]
Address = Annotated[
    str,
    More({"examples": ["/events?pin=0%3A1042"]}),
    "A page of this view; the same path has twins.",
]
Token = Annotated[
    str | None, "Give it as after= to get the page that follows; null: this is the last one."
]
Ref = Annotated[
    str,
    More({"examples": ["user/5", "model/churn@3"]}),
    "A thing as commands and addresses take it.",
]


class Place(TypedDict):
    """Where an entry is."""

    log: Log
    index: Index


class Named(TypedDict):
    """A version of a model or of a feature definition."""

    name: str
    version: str
    digest: Annotated[str | None, "Of the artifact, or of the code."]
