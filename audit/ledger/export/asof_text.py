"""A dataset as of a point, as SQL over an export's table of changes, for three engines.

The text says what `audit.replay.fold` does, in four steps: what was known by then, without what had
been superseded by then; where each key was emptied; from where each key's fields count; and of each
field the last value from there on.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Engine(NamedTuple):
    """What differs between the engines."""

    name: str
    quote: str
    last: str
    """The aggregate that gives the last value, null if that is null."""
    contains: str
    time: str
    """How a time (`2026-01-31 00:00:00`, UTC) is written."""
    source: str
    """How the table of changes is reached, as a comment of the text."""


ENGINES = (
    Engine(
        "duckdb",
        '"',
        "arg_max_null",
        "list_contains",
        "TIMESTAMPTZ '{}+00:00'",
        "CREATE VIEW {table} AS FROM read_parquet('{folder}/*.parquet');",
    ),
    Engine(
        "spark",
        "`",
        "max_by",
        "array_contains",
        "TIMESTAMP '{} UTC'",
        "CREATE TEMPORARY VIEW {table} USING parquet OPTIONS (path '{folder}');",
    ),
    Engine(
        "trino",
        '"',
        "max_by",
        "contains",
        "TIMESTAMP '{} UTC'",
        "an external table {table} with format = 'PARQUET' at {folder}",
    ),
)
WORKING_COLUMNS = ("_n", "_key", "_from", "_gone", "_gone_log", "_gone_index", "_first")
"""Columns that the statement makes for itself: no field's column may be called so."""


def quoted(name: str, quote: str = '"') -> str:
    """A name as SQL writes it."""
    return quote + name.replace(quote, quote + quote) + quote


def literal(text: str) -> str:
    """A text as a literal of standard SQL."""
    return "'" + text.replace("'", "''") + "'"


def asof_sql(
    engine: Engine,
    table: str,
    columns: Mapping[str, str],
    as_of: str,
    valid_at: str | None = None,
) -> str:
    """The statement: `_entity_key` and the fields, ordered by key.

    `table`: the table of changes, in the engine's spelling. `columns`: field -> column. `as_of`,
    `valid_at`: expressions of type timestamp with time zone (recorded and valid axis).
    """
    quote = engine.quote
    order = "c._recorded_time, c._log"
    valid = ""
    if valid_at is not None:
        order = f"c._valid_time, {order}"
        valid = f"\n    AND c._valid_time <= {valid_at}"
    fields = "".join(
        f",\n       {engine.last}({quoted(column, quote)}, _n) FILTER (WHERE "
        f"{engine.contains}(_set_fields, {_text(engine, column)})) AS {quoted(column, quote)}"
        for column in sorted(columns.values())
    )
    return f"""WITH known AS (
  SELECT c.*, row_number() OVER (ORDER BY {order}) AS _n
  FROM {table} c
  LEFT JOIN (
    SELECT DISTINCT _log AS _gone_log, _supersedes_index AS _gone_index FROM {table}
    WHERE _recorded_time <= {as_of} AND _supersedes_index IS NOT NULL
  ) gone ON c._log = _gone_log AND c._index = _gone_index
  WHERE c._recorded_time <= {as_of} AND c._op IS NOT NULL AND _gone_index IS NULL{valid}
), emptied AS (
  SELECT _entity_key, _n FROM known WHERE _op = 'delete'
  UNION ALL
  SELECT k._entity_key, t._n FROM known t JOIN (
    SELECT _entity_key, _log, min(_n) AS _first FROM known
    WHERE _op <> 'truncate' GROUP BY _entity_key, _log
  ) k ON t._log = k._log AND t._n > k._first
  WHERE t._op = 'truncate' AND (t._entity_key IS NULL OR t._entity_key = k._entity_key)
), bounds AS (
  SELECT _entity_key AS _key, max(_from) AS _from, max(_gone) AS _gone FROM (
    SELECT _entity_key, _n AS _from, 0 AS _gone FROM known
    WHERE _whole AND _entity_key IS NOT NULL
    UNION ALL SELECT _entity_key, _n, _n FROM emptied
  ) resets GROUP BY _entity_key
)
SELECT _entity_key{fields}
FROM known LEFT JOIN bounds ON _entity_key = _key
WHERE _op IN ('create', 'update') AND _n >= coalesce(_from, 0) AND _n > coalesce(_gone, 0)
GROUP BY _entity_key
ORDER BY _entity_key
"""


def file_text(engine: Engine, entity_type: str, columns: Mapping[str, str], now: str) -> str:
    """The text that an export holds for one dataset; `now` is the time written into it."""
    table = quoted(f"{entity_type}_changes", engine.quote)
    source = engine.source.format(table=table, folder=f"changes/{entity_type}")
    return f"""-- {entity_type} as of a time, on the recorded axis. First: {source}
-- Put your own time in both places. For the axis of valid time see `audit export --help`.
{asof_sql(engine, table, columns, engine.time.format(now))}"""


def _text(engine: Engine, text: str) -> str:
    if engine.name == "spark":
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return literal(text)
