"""One process of the read-model benchmark: MODE STORE AS_OF; prints its figures as JSON.

`build` makes the read model; `replay` answers once, from whatever read model is there, as a user's
script would; `duckdb` asks its own best query. The clock starts before the first import of ours.
"""

import json
import resource
import sys
import time

BEGAN = time.perf_counter()


def build(store: str, _: str) -> dict[str, float]:
    """The read model of the store, in its folder (see AUDIT_READ_MODEL)."""
    from pathlib import Path

    from audit.replay.columnar.kept.model import open_read_model
    from audit.replay.columnar.place import read_model_folder
    from audit.store import open_reader, sqlite_path

    with open_reader(store) as reader:
        folder = read_model_folder(reader.address, Path(sqlite_path(store)))
        model = open_read_model(reader, folder)
        model.seal()
        return {"bytes": sum(state.kept_bytes for state in model.state())}


def replay(store: str, as_of: str) -> dict[str, float]:
    """A dataset, as a data frame."""
    import audit

    with audit.Ledger(store) as ledger:
        return {"rows": len(ledger.replay("account", as_of=as_of))}


def duckdb(parquet: str, query: str) -> dict[str, float]:
    """The rows of a query, as an Arrow table."""
    from duckdb import connect

    connection = connect()
    connection.execute(f"CREATE VIEW events AS FROM read_parquet('{parquet}')")
    return {"rows": len(connection.sql(query).to_arrow_table())}


def figures(mode: str, *given: str) -> dict[str, float]:
    """What a mode found, the seconds since this was imported, the memory of this process."""
    found = {"build": build, "replay": replay, "duckdb": duckdb}[mode](*given)
    found["seconds"] = time.perf_counter() - BEGAN
    found["rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


if __name__ == "__main__":
    print(json.dumps(figures(*sys.argv[1:])))
