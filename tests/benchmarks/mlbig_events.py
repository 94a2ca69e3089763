"""The events of a big ledger of machine learning: see `mlbig`.

An event is spelled once for each of its shapes, and what differs is put in at its place.
"""

from collections.abc import Iterator
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np

from audit.event.build import Built, data_event, record_event
from audit.event.envelope import encode_event
from audit.store import migrations
from tests.benchmarks.common import ORIGIN

FORMAT = 1
"""To be raised when something here writes other bytes than before."""
START_US = 1_700_000_000_000_000
DAY_US = 86_400_000_000
DAYS = 56
MODEL, COMPONENT, TRAINING, ENTITY = "churn", "prepare", "train", "customer"
SOURCE = "bench"
VERSIONS = ("1", "2", "3")
SCHEMAS = (
    *("row.v1", "prediction.v2", "run.v1", "model_version.v2", "dataset_version.v1"),
    *("model_transition.v1", "review.v1"),
)
NUMBERS = tuple(f"f{at:02}" for at in range(12))
REGIONS = ("north", "south", "east ", "west ")
BLOCK = 1_000
FAILED_SHARE = 50
"""One of so many predictions, runs and trainings failed."""


class MlPlan(NamedTuple):
    """How much of what. The shares of a ledger of a million events."""

    events: int = 1_000_000

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"ml{FORMAT}-v{len(migrations.STEPS)}-e{self.events}"

    def of(self, in_a_million: int) -> int:
        """How many there are of something, at least 4."""
        return max(4, in_a_million * self.events // 1_000_000)

    @property
    def customers(self) -> int:
        """Different keys."""
        return self.of(50_000)

    @property
    def step_us(self) -> int:
        """From one entry to the next."""
        return DAYS * DAY_US // self.events


Spelled = tuple[str, str, str, str, bytes]
"""Type, event id, entity type, key, and the event's bytes."""


class Shape:
    """Events that differ in bytes at known places only: one is spelled, the others are filled in.

    The holes are texts of a length of their own, or doubles; every one is in the bytes once.
    """

    def __init__(self, built: Built, holes: dict[str, bytes]) -> None:
        """`holes`: name -> the bytes that stand there in the event that was spelled."""
        self._like = np.frombuffer(encode_event(built.event), np.uint8)
        raw = self._like.tobytes()
        self._places = {}
        for name, hole in holes.items():
            if raw.count(hole) != 1:
                raise ValueError(f"{name} is in the event {raw.count(hole)} times")
            self._places[name] = slice(raw.index(hole), raw.index(hole) + len(hole))

    def filled(self, count: int, values: dict[str, Any]) -> list[bytes]:
        """`values`: name -> uint8[count, length]."""
        out = np.repeat(self._like[None, :], count, axis=0)
        for name, place in self._places.items():
            out[:, place] = values[name]
        raw, width = out.tobytes(), out.shape[1]
        return [raw[at : at + width] for at in range(0, len(raw), width)]


def blocks(plan: MlPlan) -> Iterator[list[Spelled]]:
    """All events, in blocks; the same for the same plan."""
    random = np.random.default_rng(7)
    count = max(1, plan.events // BLOCK)
    things = _Things(plan, count)
    size = 1 + len(SCHEMAS)
    for number in range(count):
        block = [*things.of_block(number, size), *_rows(plan, number, random)]
        block += _predictions(plan, number, count, size, random)
        yield block
        size += len(block)


def time_of(plan: MlPlan, number: int) -> int:
    """When a block began, about."""
    return START_US + number * BLOCK * plan.step_us


def digest(text: str) -> str:
    """A digest that stands for a content."""
    return "sha256:" + sha256(text.encode()).hexdigest()


def version_at(number: int, count: int) -> str:
    """The version that serves while a block is recorded."""
    return VERSIONS[number * len(VERSIONS) // count]


def customer(number: int) -> str:
    """A key."""
    return f"C{number:06}"


def _texts(texts: list[str]) -> Any:
    return np.frombuffer("".join(texts).encode(), np.uint8).reshape(len(texts), -1)


def _doubles(values: Any) -> Any:
    return values.astype("<f8").view(np.uint8).reshape(len(values), 8)


def _hole(at: int) -> float:
    """A double that is found again in the bytes."""
    return float(1.0 + at / 997.0)


def _packed(value: float) -> bytes:
    return np.float64(value).astype("<f8").tobytes()


def _rows(plan: MlPlan, number: int, random: Any) -> list[Spelled]:
    count = BLOCK * 3 // 10
    first = number * count
    creates = first < plan.customers
    keys = [
        customer(first + at if creates else int(drawn))
        for at, drawn in enumerate(random.integers(0, plan.customers, count))
    ]
    ids = [f"row-{first + at:010}" for at in range(count)]
    like, key = "row-" + "9" * 10, "C" + "8" * 6
    fields = {"balance": _hole(1), "limit": _hole(2), "status": "open"}
    built = data_event(
        "create" if creates else "update",
        *(ENTITY, key),
        event_id=like,
        source=SOURCE,
        after={**fields, "name": "somebody", "visits": 3} if creates else fields,
        image="full" if creates else "patch",
        actor="importer",
    )
    holes = {"id": like.encode(), "key": key.encode()}
    holes |= {"balance": _packed(_hole(1)), "limit": _packed(_hole(2))}
    drawn = random.normal(1_000, 200, (2, count))
    given = {"id": _texts(ids), "key": _texts(keys)}
    given |= {"balance": _doubles(drawn[0]), "limit": _doubles(drawn[1])}
    spelled = Shape(built, holes).filled(count, given)
    type_ = built.event.type
    return [(type_, *one) for one in zip(ids, [ENTITY] * count, keys, spelled, strict=True)]


def _predictions(plan: MlPlan, number: int, count: int, size: int, random: Any) -> list[Spelled]:
    many, at_us = BLOCK * 7 // 10, time_of(plan, number)
    version, first = version_at(number, count), number * (BLOCK * 7 // 10)
    keys = [customer(int(one)) for one in random.integers(0, plan.customers, many)]
    drawn = random.normal(0, 1, (len(NUMBERS), many))
    drawn[0] += number / count  # the first feature drifts
    regions = random.integers(0, len(REGIONS), many)
    answers = 1 / (1 + np.exp(-drawn[0] - 0.5 * drawn[1]))
    failed = np.arange(many) % FAILED_SHARE == FAILED_SHARE - 1
    found: list[Spelled] = []
    ids = [f"p{first + at:07}" for at in range(many)]
    for is_failed in (False, True):
        at = np.flatnonzero(failed == is_failed)
        given = {
            "id": _texts([ids[one] for one in at]),
            "key": _texts([keys[one] for one in at]),
            "request": _texts([f"r{first + one:07}" for one in at]),
            "region": _texts([REGIONS[regions[one]] for one in at]),
            "answer": _doubles(answers[at]),
            **{name: _doubles(drawn[place][at]) for place, name in enumerate(NUMBERS)},
        }
        shape = _prediction_shape(version, size, at_us, is_failed)
        spelled = shape.filled(len(at), given)
        found += [
            ("prediction", ids[one], "prediction", keys[one], event)
            for one, event in zip(at.tolist(), spelled, strict=True)
        ]
    return found


def _prediction_shape(version: str, size: int, at_us: int, failed: bool) -> Shape:
    numbers = {name: _hole(10 + at) for at, name in enumerate(NUMBERS)}
    data = {
        "request_id": "r" + "7" * 7,
        "model_name": MODEL,
        "model_version": version,
        "model_digest": digest(f"artifact {version}"),
        "code_digest": digest("serve.py"),
        "features": {**numbers, "region": "REGIO", "age": 41, "premium": True},
        "inputs": [
            {
                "name": ENTITY,
                "entity_type": ENTITY,
                "logs": [{"origin": ORIGIN, "size": size, "root_hash": None}],
            }
        ],
        "status": "ERROR" if failed else "OK",
        "error": "ValueError: not a number" if failed else None,
        "output": None if failed else _hole(5),
        "threshold": 0.5,
        "latency_us": 1_200,
        "served": True,
    }
    built = record_event(
        "prediction",
        data,
        entity_type="prediction",
        entity_key="C" + "8" * 6,
        event_id="p" + "9" * 7,
        source=SOURCE,
        valid_time_us=at_us,
        actor="scorer",
    )
    holes = {
        "id": b"p" + b"9" * 7,
        "key": b"C" + b"8" * 6,
        "request": b"r" + b"7" * 7,
        "region": b"REGIO",
        **{name: _packed(value) for name, value in numbers.items()},
    }
    return Shape(built, holes if failed else {**holes, "answer": _packed(_hole(5))})


class _Things:
    """What is few: spread over the blocks evenly, each kind by its own share."""

    def __init__(self, plan: MlPlan, count: int) -> None:
        self._plan, self._count = plan, count

    def of_block(self, number: int, size: int) -> Iterator[Spelled]:
        """The things that are recorded with a block. `size`: of the log before it."""
        at_us = time_of(self._plan, number)
        for one in self._share(number, 50):
            yield _spelled(_dataset(one, size, at_us))
        for one in self._share(number, 20_000):
            yield from map(_spelled, _component_run(one, size, at_us, self._plan))
        for one in self._share(number, 200):
            yield from map(_spelled, _training(one, size, at_us, self._plan))
        version = version_at(number, self._count)
        if number == 0 or version != version_at(number - 1, self._count):
            yield from map(_spelled, _registered(version, at_us))
        for one in self._share(number, 40):
            yield _spelled(_transition(one, version, at_us))
        if number:
            for one in self._share(number, 1_000):
                ref = f"prediction/p{(number - 1) * (BLOCK * 7 // 10) + one % 97:07}"
                yield _spelled(_review(one, ref, "FLAG"))
            for one in self._share(number, 500):
                ref = f"prediction/p{(number - 1) * (BLOCK * 7 // 10) + one % 89:07}"
                yield _spelled(_review(one, ref, "REPLAY"))

    def _share(self, number: int, in_a_million: int) -> range:
        total = self._plan.of(in_a_million)
        return range(number * total // self._count, (number + 1) * total // self._count)


def _spelled(built: Built) -> Spelled:
    event = built.event
    assert event.entity_type is not None and event.entity_key is not None
    return event.type, event.event_id, event.entity_type, event.entity_key, encode_event(event)


def _record(type_: str, data: Any, entity: str, key: str, event_id: str, at_us: int) -> Built:
    return record_event(
        type_,
        data,
        entity_type=entity,
        entity_key=key,
        event_id=event_id,
        source=SOURCE,
        valid_time_us=at_us,
        actor="pipeline",
    )


def _points(size: int) -> list[dict[str, Any]]:
    return [{"origin": ORIGIN, "size": size, "root_hash": None}]


def _dataset(one: int, size: int, at_us: int) -> Built:
    data = {
        "name": "customers",
        "version": str(one),
        "digest": "frame-v1:" + digest(f"dataset {one}"),
        "rows": 50_000,
        "entity_type": ENTITY,
        "logs": _points(size),
        "purpose": "TRAINING",
        "columns": {name: "double" for name in NUMBERS},
    }
    key = f"customers@{one}"
    return _record("dataset.version", data, "dataset", key, f"dataset-{one}", at_us)


def _component_run(one: int, size: int, at_us: int, plan: MlPlan) -> tuple[Built, Built]:
    """Each reads the ledger, or what the one before it made."""
    run_id, failed = f"run-{one:07}", one % FAILED_SHARE == FAILED_SHARE - 1
    start = {
        "run_id": run_id,
        "name": f"{COMPONENT}-{one % 20}",
        "status": "START",
        "started_us": at_us + one % 997,
        "owner": "data team",
        "tags": ["nightly"],
        "params": {"window": 30, "mode": "full"},
        "code_digest": digest("prepare.py"),
        "environment": {"python": "3.11", "polars": "1.0"},
    }
    read: dict[str, Any] = {"name": "before", "digest": "frame-v1:" + digest(f"made {one - 1}")}
    if one % 10 == 0:
        read = {"name": ENTITY, "entity_type": ENTITY, "logs": _points(size), "kind": "frame"}
        read["digest"] = "frame-v1:" + digest(f"read {one}")
    end = {
        **start,
        "status": "FAIL" if failed else "COMPLETE",
        "ended_us": at_us + 60_000_000 + one % 997,
        "inputs": [{**read, "rows": 1_000, "kind": "frame"}],
        "outputs": []
        if failed
        else [
            {
                "name": "prepared",
                "kind": "frame",
                "digest": "frame-v1:" + digest(f"made {one}"),
                "rows": 1_000,
                "columns": {name: "double" for name in NUMBERS},
            }
        ],
        "metrics": {"rows": 1_000, "seconds": 60.0},
        "error": "ValueError: bad row" if failed else None,
    }
    told = _record("component.run", start, "run", run_id, f"{run_id}:START", at_us)
    return told, _record("component.run", end, "run", run_id, run_id, at_us)


def _training(one: int, size: int, at_us: int, plan: MlPlan) -> Iterator[Built]:
    """START, end and, of most, the candidate's version."""
    run_id, failed = f"train-{one:05}", one % 10 == 9
    start = {
        "run_id": run_id,
        "name": TRAINING,
        "status": "START",
        "started_us": at_us,
        "params": {"C": 0.5 + one, "max_iter": 500},
        "code_digest": digest("train.py"),
        "environment": {"python": "3.11", "sklearn": "1.9"},
    }
    dataset = one * plan.of(50) // plan.of(200)
    made = {"name": f"{MODEL}-candidate", "version": str(one), "digest": digest(f"candidate {one}")}
    end = {
        **start,
        "status": "FAIL" if failed else "COMPLETE",
        "ended_us": at_us + 900_000_000,
        "inputs": [
            {
                "name": "customers",
                "kind": "frame",
                "digest": "frame-v1:" + digest(f"dataset {dataset}"),
                "rows": 50_000,
                "dataset": f"customers@{dataset}",
            }
        ],
        "models": [] if failed else [made],
        "metrics": {} if failed else {"auc": 0.8 + one / 10_000},
        "error": "MemoryError: too large" if failed else None,
    }
    yield _record("model.run", start, "run", run_id, f"{run_id}:START", at_us)
    if not failed:
        key = f"{made['name']}@{one}"
        version = {**made, "run_id": run_id, "format": "pickle", "metrics": end["metrics"]}
        yield _record("model.version", version, "model", key, f"candidate-{one}", at_us)
    yield _record("model.run", end, "run", run_id, run_id, at_us)


def _registered(version: str, at_us: int) -> Iterator[Built]:
    """A version that serves, and the transition that lets it."""
    data = {
        "name": MODEL,
        "version": version,
        "digest": digest(f"artifact {version}"),
        "artifact_bytes": 120_000,
        "format": "pickle",
        "run_id": "train-00000",
        "packages": {"sklearn": "1.9"},
        "threshold": 0.5,
    }
    yield _record("model.version", data, "model", f"{MODEL}@{version}", f"model-{version}", at_us)
    moved = {"name": MODEL, "stage": "production", "version": version, "approved_by": "alice"}
    yield _record("model.transition", moved, "model", MODEL, f"serves-{version}", at_us)


def _transition(one: int, version: str, at_us: int) -> Built:
    data = {"name": MODEL, "stage": f"stage-{one % 3}", "version": version, "approved_by": "bob"}
    return _record("model.transition", data, "model", MODEL, f"moved-{one}", at_us + one)


def _review(one: int, ref: str, kind: str) -> Built:
    verdict = ("IDENTICAL", "WITHIN_TOLERANCE", "DIVERGED")[one % 3] if kind == "REPLAY" else None
    data = {"ref": ref, "kind": kind, "verdict": verdict, "message": "looks odd", "logs": []}
    event_id = f"{kind.lower()}-{one}"
    return _record("review", {**data, "evidence": None}, "review", ref, event_id, START_US)
