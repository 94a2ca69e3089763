"""Makes the golden files of tests/event/golden from fixed inputs.

Run it as `python -m tests.event.make_golden`.

What is in them never changes: version 1 of a format is what these bytes are. A difference means
that a released format was broken, not that the files want to be made again.
"""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from audit.event.declared import declare
from audit.event.envelope import (
    EVENT_PREFIX,
    EVENT_SCHEMA_HASH,
    Encryption,
    Event,
    encode_event,
)
from audit.event.row import Change, encode_row
from audit.event.schema import BUILTINS, builtin, schema_hash
from audit.event.signing import sign_event
from audit.event.values import to_json
from audit.tlog.keys import Ed25519Signer

GOLDEN = Path(__file__).resolve().parent / "golden"
SEED = bytes(range(32))

CHANGES: dict[str, Change] = {
    "nothing": Change("patch", None, None),
    "empty": Change("full", {}, {}),
    "patch": Change("patch", None, {"dpt": "ISR"}),
    "numbers": Change(
        "full",
        None,
        {
            "zero": 0,
            "minus": -1,
            "beyond 2^53": 2**53 + 1,
            "max": 2**63 - 1,
            "min": -(2**63),
            "half": 0.5,
            "minus zero": -0.0,
            "smallest": 5e-324,
            "nan": float("nan"),
            "inf": float("inf"),
            "1.50": Decimal("1.50"),
            "1E+5": Decimal("1E+5"),
            "-0.01": Decimal("-0.01"),
            "128": Decimal(128),
            "-128": Decimal(-128),
        },
    ),
    "others": Change(
        "patch",
        {"null": None, "true": True, "false": False, "": ""},
        {
            "text": "a\0\u00e9e\u0301\u2028\U0001f600",
            "bytes": b"\0\xff",
            "first day": date(1, 1, 1),
            "last day": date(9999, 12, 31),
            "epoch": datetime(1970, 1, 1, tzinfo=UTC),
            "before": datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
            "nested": [1, -0.0, {"$key": Decimal("2.00"), "a": [b"x", None]}],
        },
    ),
}

EVENTS: dict[str, Event] = {
    "least": Event("e", "review", "s"),
    "create": Event(
        "018f3c2a-7b1e-7d4a-9c55-0a1b2c3d4e5f", "data.create", "crm", "user", "5",
        payload_schema=schema_hash(builtin("row.v1")), payload=encode_row(CHANGES["patch"]),
    ),
    "every field": Event(
        "id", "data.update", "crm", "user", '["a",5]', -1, "alice", "ticket 4711", "tx", "earlier",
        "request", "trace", bytes(range(32)), b"\0payload", "subject",
        Encryption("key-1", b"\x01\x02\x03"), "crm-1", 2**63 - 1,
    ),
    "awkward key": Event("id", "data.delete", "s", "user", "\0'; DROP TABLE\n\u2028e\u0301"),
}  # fmt: skip

DECLARED = {
    "type": "record",
    "name": "user",
    "namespace": "shop",
    "fields": [
        {"name": "name", "type": "string", "doc": "Who."},
        {"name": "dpt", "type": ["null", "string"], "default": None, "aliases": ["dept"]},
        {
            "name": "pay",
            "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
        },
    ],
}


def golden() -> dict[str, Any]:
    """File name -> what is in it."""
    signer = Ed25519Signer.from_seed("crm.key", SEED)
    declared = declare(DECLARED)
    row = {"name": "Christian", "dpt": None, "pay": Decimal("1.50")}
    events = {name: encode_event(event) for name, event in EVENTS.items()}
    return {
        "event.v1.json": {
            "prefix": EVENT_PREFIX.hex(),
            "schema_hash": EVENT_SCHEMA_HASH.hex(),
            "events": {name: data.hex() for name, data in events.items()},
        },
        "row.v1.json": {
            "schema_hash": schema_hash(builtin("row.v1")).hex(),
            "rows": {
                name: {
                    "image": change.image,
                    "before": to_json(change.before),
                    "after": to_json(change.after),
                    "bytes": encode_row(change).hex(),
                }
                for name, change in CHANGES.items()
            },
        },
        "declared.json": {
            "schema": DECLARED,
            "canonical": declared.canonical.decode(),
            "change_canonical": declared.change_canonical.decode(),
            "change_hash": declared.change_hash.hex(),
            "row": to_json(row),
            "bytes": declared.encode_change(Change("full", None, row)).hex(),
        },
        "signature.json": {
            "seed": SEED.hex(),
            "vkey": signer.verifier.vkey,
            "signatures": {name: sign_event(data, signer).hex() for name, data in events.items()},
        },
        "schemas.json": {name: schema_hash(builtin(name)).hex() for name in BUILTINS},
    }


def text_of(content: Any) -> str:
    """The text of one golden file."""
    return json.dumps(content, indent=2) + "\n"


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for file_name, content in golden().items():
        (GOLDEN / file_name).write_text(text_of(content))
