"""One application of the story: emits its share of events and writes down what it said, in order.

Run as a program: BUS NAME COUNT TRUTH. Each line of the file TRUTH is one event that `emit` took,
kept by plain code that knows nothing of how a ledger replays; the last line is written when the
emitter's `flush` has returned. What it says is decided by its name alone.
"""

import json
import random
import sys
import time
from pathlib import Path

import audit
from audit.event.types import record_schema

EXAMPLES = Path(__file__).resolve().parents[2] / "schemas" / "examples"
KEYS = 200
TRUNCATE_EVERY = 1_000
RECORDS = ("prediction", "model.run", "model.version", "model.transition", "review")
"""Said as the example of their own schema; the plain ones with other fields than theirs."""
PLAIN_RECORDS = ("component.run", "dataset.version", "feature.definition", "ground_truth", "review")


class Application:
    """Chooses what happens next, keeps the rows that must be there at the end."""

    def __init__(self, emit: audit.Emitter, name: str) -> None:
        self.emit = emit
        self.name = name
        self.random = random.Random(name)
        self.alive: set[str] = set()
        self.examples = {
            type_: json.loads((EXAMPLES / f"{record_schema(type_)}.json").read_text())
            for type_ in RECORDS
        }

    def step(self, number: int) -> dict[str, object]:
        """Emit one event; what it said."""
        if number % TRUNCATE_EVERY == TRUNCATE_EVERY - 1:
            return self._said("truncate", f"scratch_{self.name}", None, None, "patch")
        choice = self.random.random()
        if choice < 0.1:
            return self._record(number)
        if choice < 0.2:
            key = f"{self.name}-s{self.random.randrange(KEYS)}"
            row = {"n": number}
            return self._said("update", f"scratch_{self.name}", key, row, "full")
        return self._account(number)

    def _record(self, number: int) -> dict[str, object]:
        if number % 2:
            type_ = self.random.choice(RECORDS)
            data = self.examples[type_]
        else:
            type_ = self.random.choice(PLAIN_RECORDS)
            data = {"number": number, "text": "ünï\u0000code"}
        key = f"{self.name}-{number}"
        event = {"type": type_, "data": data, "entity_type": "run", "entity_key": key}
        event_id = self.emit.emit(event)
        return {"id": event_id, "op": type_, "entity": "run", "key": key}

    def _account(self, number: int) -> dict[str, object]:
        key = f"{self.name}-{self.random.randrange(KEYS)}"
        row = {f"f{self.random.randrange(6)}": number, "who": self.name}
        if key not in self.alive:
            self.alive.add(key)
            return self._said("create", "account", key, row, "full")
        choice = self.random.random()
        if choice < 0.1:
            self.alive.discard(key)
            return self._said("delete", "account", key, None, "patch")
        return self._said("update", "account", key, row, "full" if choice < 0.3 else "patch")

    def _said(
        self, op: str, entity: str, key: str | None, row: dict[str, object] | None, image: str
    ) -> dict[str, object]:
        if op == "create":
            event_id = self.emit.create(entity, key, row or {})
        elif op == "update":
            event_id = self.emit.update(entity, key, row or {}, full=image == "full")
        elif op == "delete":
            event_id = self.emit.delete(entity, key)
        else:
            event_id = self.emit.truncate(entity)
        return {
            "id": event_id, "op": op, "entity": entity, "key": key, "row": row, "image": image,
        }  # fmt: skip


def main(bus: str, name: str, count: str, truth: str, seconds: str = "0") -> None:
    """Emit `count` events, spread over at least so many seconds."""
    pause_s = float(seconds) / int(count)
    with open(truth, "w", encoding="utf-8") as file, audit.Emitter(bus, source=name) as emit:
        application = Application(emit, name)
        start_s = time.monotonic()
        for number in range(int(count)):
            file.write(json.dumps(application.step(number)) + "\n")
            ahead_s = start_s + number * pause_s - time.monotonic()
            if ahead_s > 0.02:
                time.sleep(ahead_s)
        while True:
            emit.flush()
            if not emit.waiting:
                break
            time.sleep(0.2)
        file.write(json.dumps({"flushed": int(count)}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
