"""Altering other tables of a database that has triggers of ours."""

import time
from typing import Any

from sqlalchemy import create_engine

from audit.capture.database import triggers
from tests.capture.database.trigger_support import run


def test_other_tables_are_altered_at_once_beside_wide_captured_ones(tmp_path: Any) -> None:
    """SQLite looks through all triggers then, in a time that grows with the square of names."""
    engine = create_engine(f"sqlite:///{tmp_path}/wide.db")
    columns = ", ".join(f"c{n} {('TEXT', 'INTEGER', 'NUMERIC(10, 2)')[n % 3]}" for n in range(100))
    run(engine, f"CREATE TABLE wide (id INTEGER PRIMARY KEY, {columns})")
    run(engine, "CREATE TABLE other (id INTEGER PRIMARY KEY, gone TEXT)")
    triggers.install(engine, ["wide"])
    start = time.process_time()
    run(engine, "ALTER TABLE other DROP COLUMN gone")
    # About half a second; ten when the trigger of updates named each column a dozen times.
    assert time.process_time() - start < 4
    engine.dispose()
