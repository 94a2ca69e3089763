"""Messages as Debezium's connectors write them: JSON with and without schema, and Avro."""

import base64
import io
import json
import struct
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

import fastavro

from audit.kafka.address import parse_address

CONNECT = "org.apache.kafka.connect.data."
TIME = "io.debezium.time."
DATA = "io.debezium.data."
PLACEHOLDER = "__debezium_unavailable_value"
BEGAN_US = 1_790_000_000_123_456


class Column(NamedTuple):
    """A column: its type in Connect's words, what it means, and its parameters."""

    name: str
    type: str
    meaning: str = ""
    parameters: Mapping[str, str] = {}
    optional: bool = True
    items: str = ""


ORDERS = (
    Column("id", "int32", optional=False),
    Column("customer", "string"),
    Column("amount", "bytes", CONNECT + "Decimal", {"scale": "2"}),
    Column("placed", "int64", TIME + "MicroTimestamp"),
    Column("due", "int32", TIME + "Date"),
    Column("seen", "string", TIME + "ZonedTimestamp"),
    Column("paid", "boolean"),
    Column("attrs", "string", DATA + "Json"),
    Column("token", "string", DATA + "Uuid"),
    Column("photo", "bytes"),
    Column("ratio", "float32"),
    Column("tags", "array", items="string"),
)
"""A table of PostgreSQL."""

ROW = {
    "id": 1,
    "customer": "Ana",
    "amount": Decimal("12.50"),
    "placed": 1_769_853_600_000_001,
    "due": 20_484,
    "seen": "2026-01-31T09:00:00.5Z",
    "paid": False,
    "attrs": '{"vip": true, "n": 1.5, "$x": [1, null]}',
    "token": "0b9f7bd2-5bb5-4f1f-9d5c-0a8f7f1d2c3b",
    "photo": b"\x00\xff",
    "ratio": 0.1,
    "tags": ["a", "b"],
}


def source(table: str = "orders", lsn: int = 100, **more: Any) -> dict[str, Any]:
    """PostgreSQL's source block."""
    us = BEGAN_US + lsn
    return {
        **{"version": "3.0.0.Final", "connector": "postgresql", "name": "shop"},
        **{"ts_ms": us // 1000, "snapshot": "false", "db": "store"},
        **{"sequence": f'["{lsn - 1}","{lsn}"]', "ts_us": us, "ts_ns": us * 1000},
        **{"schema": "public", "table": table, "txId": lsn // 3, "lsn": lsn, "xmin": None},
        **more,
    }


def mysql_source(
    table: str = "orders", pos: int = 100, row: int = 0, **more: Any
) -> dict[str, Any]:
    """MySQL's."""
    ms = BEGAN_US // 1_000_000 * 1000
    return {
        **{"version": "3.0.0.Final", "connector": "mysql", "name": "mshop", "ts_ms": ms},
        **{"snapshot": "false", "db": "store", "sequence": None, "ts_us": ms * 1000},
        **{"ts_ns": ms * 10**6, "table": table, "server_id": 1, "gtid": None},
        **{"file": "binlog.000003", "pos": pos, "row": row, "thread": 7, "query": None},
        **more,
    }


def envelope(
    op: str,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
    block: dict[str, Any],
    transaction: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A change event; when Debezium handled it differs from delivery to delivery."""
    handled_us = next(_handled)
    return {
        **{"before": before, "after": after, "source": block, "transaction": transaction},
        **{"op": op, "ts_ms": handled_us // 1000, "ts_us": handled_us, "ts_ns": handled_us * 1000},
    }


_handled = iter(range(BEGAN_US * 2, BEGAN_US * 3, 1_777))


def text(message: Any) -> bytes:
    """JSON without a schema."""
    return json.dumps(message, default=_raw).encode()


def _raw(value: Any) -> Any:
    if isinstance(value, Decimal):
        value = unscaled(value)
    return base64.b64encode(value).decode()


def unscaled(value: Decimal) -> bytes:
    """As Connect keeps a decimal: its digits as an integer of two's complement."""
    number = int(value.scaleb(-int(value.as_tuple().exponent)))
    return number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)


_BLOCK_TYPES = {int: "int64", str: "string", type(None): "string"}


def _json_type(column: Column) -> dict[str, Any]:
    made: dict[str, Any] = {"type": column.type, "optional": column.optional}
    if column.meaning:
        made |= {"name": column.meaning, "version": 1}
    if column.parameters:
        made["parameters"] = dict(column.parameters)
    if column.items:
        made["items"] = {"type": column.items, "optional": True}
    return made | {"field": column.name}


def _struct(name: str, fields: Iterable[dict[str, Any]], field: str = "") -> dict[str, Any]:
    made = {"type": "struct", "fields": list(fields), "optional": True, "name": name}
    return made | ({"field": field} if field else {})


def _block(block: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"field": name, "type": _BLOCK_TYPES[type(value)], "optional": True}
        for name, value in block.items()
    ]


def typed(message: dict[str, Any], columns: Iterable[Column] = ORDERS) -> bytes:
    """JSON with its schema around it."""
    columns = list(columns)
    row = [_json_type(column) for column in columns]
    transaction = {"id": "", "total_order": 0, "data_collection_order": 0}
    fields = [
        _struct("shop.public.orders.Value", row, "before"),
        _struct("shop.public.orders.Value", row, "after"),
        _struct("io.debezium.connector.postgresql.Source", _block(message["source"]), "source"),
        _struct("event.block", _block(transaction), "transaction"),
        *_block({"op": "", "ts_ms": 0, "ts_us": 0, "ts_ns": 0}),
    ]
    schema = _struct("shop.public.orders.Envelope", fields)
    return json.dumps({"schema": schema, "payload": message}, default=_raw).encode()


def typed_key(key: dict[str, Any], columns: Iterable[Column] = ORDERS) -> bytes:
    """The key's JSON with its schema."""
    fields = [_json_type(column) for column in columns if column.name in key]
    schema = _struct("shop.public.orders.Key", fields)
    return json.dumps({"schema": schema, "payload": key}, default=_raw).encode()


_AVRO = {
    **{"int32": "int", "int64": "long", "float32": "float", "float64": "double"},
    **{"boolean": "boolean", "string": "string", "bytes": "bytes"},
}


def _avro_type(column: Column) -> Any:
    if column.items:
        made: Any = {"type": "array", "items": ["null", _AVRO[column.items]]}
    elif column.meaning:
        made = {"type": _AVRO[column.type], "connect.version": 1, "connect.name": column.meaning}
        if column.parameters:
            made["connect.parameters"] = dict(column.parameters)
        if column.meaning.endswith("Decimal"):
            made |= {"logicalType": "decimal", "precision": 10, "scale": 2}
    else:
        made = _AVRO[column.type]
    return ["null", made] if column.optional else made


def avro_schema(block: Mapping[str, Any], columns: Iterable[Column] = ORDERS) -> dict[str, Any]:
    """The envelope's schema as Connect registers it."""
    row = [{"name": column.name, "type": _avro_type(column)} for column in columns]
    value = {"type": "record", "name": "Value", "fields": row}
    of_block = [
        {"name": name, "type": ["null", "long" if isinstance(each, int) else "string"]}
        for name, each in block.items()
    ]
    return {
        "type": "record",
        "name": "Envelope",
        "namespace": "shop.public.orders",
        "fields": [
            {"name": "before", "type": ["null", value], "default": None},
            {"name": "after", "type": ["null", "Value"], "default": None},
            {
                "name": "source",
                "type": {"type": "record", "name": "Source", "fields": of_block,
                         "namespace": "io.debezium.connector.postgresql"},
            },
            {
                "name": "transaction",
                "type": ["null", {"type": "record", "name": "block", "namespace": "event",
                                  "fields": [{"name": "id", "type": "string"},
                                             {"name": "total_order", "type": "long"},
                                             {"name": "data_collection_order", "type": "long"}]}],
            },
            {"name": "op", "type": "string"},
            *({"name": name, "type": ["null", "long"]} for name in ("ts_ms", "ts_us", "ts_ns")),
        ],
        "connect.name": "shop.public.orders.Envelope",
    }  # fmt: skip


KEY_SCHEMA = {
    "type": "record",
    "name": "Key",
    "namespace": "shop.public.orders",
    "fields": [{"name": "id", "type": "int"}],
    "connect.name": "shop.public.orders.Key",
}


def framed(schema: dict[str, Any], schema_id: int, value: Any) -> bytes:
    """Avro in a registry's framing."""
    plain = json.loads(json.dumps(schema).replace("logicalType", "logicalTypeOff"))
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(plain), _unscaled(value))
    return b"\0" + struct.pack(">I", schema_id) + out.getvalue()


def _unscaled(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _unscaled(item) for name, item in value.items()}
    return unscaled(value) if isinstance(value, Decimal) else value


def put(
    url: str, messages: Iterable[tuple[bytes | None, bytes | None]], partition: int | None = None
) -> None:
    """Write keys and values to a topic, as a connector does: equal keys to one partition."""
    from kafka import KafkaProducer

    address = parse_address(url)
    producer = KafkaProducer(bootstrap_servers=address.bootstrap, acks="all")
    try:
        for key, value in messages:
            producer.send(address.topic, value, key, partition=partition)
        producer.flush()
    finally:
        producer.close()
