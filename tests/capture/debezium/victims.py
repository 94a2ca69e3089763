"""Captures that die by kill -9 at a chosen point of their second batch. Usage: -m ... SPEC.

SPEC is JSON: `topics`, `bus`, `points`. Each point is a forked process of its own.
"""

import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

# Imported when they are needed, which is anew in each of the forked processes.
import audit.kafka.confluent_consumer
import audit.store.sql_store
import audit.store.sqlite_database  # noqa: F401
from audit.capture.debezium.capture import DebeziumCapture, Settings
from audit.capture.debezium.topic import EventName, Topic

POINTS = ("emitting", "emitted", "flushed", "committed")
BATCH = 7


class Victim(DebeziumCapture):
    """Dies at its point once one batch went well."""

    point = ""
    batches = 0
    sent = 0

    def reached(self, point: str) -> None:
        if self.point == point and self.batches:
            os.kill(os.getpid(), signal.SIGKILL)

    def _send(self, built: Any) -> EventName:
        self.sent += 1
        if self.sent % BATCH == 3:
            self.reached("emitting")
        return super()._send(built)

    def _flush(self) -> None:
        self.reached("emitted")
        super()._flush()
        self.reached("flushed")

    def _take(self, topic: Topic, found: Mapping[int, Any]) -> None:
        super()._take(topic, found)
        self.reached("committed")
        self.batches += 1


def main(spec: dict[str, Any]) -> None:
    for point in spec["points"]:
        child = os.fork()
        if not child:
            emitter = {"spool": spec["spool"]}
            victim = Victim(spec["topics"], Settings(spec["bus"], batch=BATCH, emitter=emitter))
            victim.point = point
            victim.run(once=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), f"{point}: it came to its end ({status})"


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
