"""Relays that die by kill -9 at a chosen point of their second batch. Usage: -m ... SPEC.

SPEC is JSON: `database`, `bus`, `points`. Each point is a forked process of its own.
"""

import json
import os
import signal
import sys
from typing import Any

# Imported when they are needed, which is anew in each of the forked processes.
import audit.store.postgresql_database
import audit.store.sql_store
import audit.store.sqlite_database  # noqa: F401
from audit.capture.database.connect import open_database
from audit.capture.database.events import Waiting
from audit.capture.database.relay import Judged, Relay, Settings

POINTS = ("read", "emitting", "emitted", "flushed", "marked")
BATCH = 7


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Victim(Relay):
    """Dies at its point once one batch went well."""

    point = ""

    def _emit(self, shard: int, rows: list[Waiting]) -> Judged:
        second = self.emitted > 0
        if second and self.point == "read":
            die()
        if second and self.point == "emitting":
            super()._emit(shard, rows[: len(rows) // 2])
            die()
        return super()._emit(shard, rows)

    def _flush(self, shard: int) -> None:
        second = self.emitted > 0
        if second and self.point == "emitted":
            die()
        super()._flush(shard)
        if second and self.point == "flushed":
            die()

    def _round(self) -> int:
        if self.emitted >= 2 * BATCH and self.point == "marked":
            die()
        return super()._round()


def main(spec: dict[str, Any]) -> None:
    for point in spec["points"]:
        child = os.fork()
        if not child:
            settings = Settings(spec["bus"], batch=BATCH, lease_s=0.4, poll_s=0.01)
            victim = Victim(open_database(spec["database"]), settings)
            victim.point = point
            victim.run(once=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), f"{point}: nobody was killed"
        assert os.WTERMSIG(status) == signal.SIGKILL


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
