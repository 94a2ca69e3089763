"""Every reader of lineage over records that lie: random fields of every type, in every record."""

import json
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from click.testing import CliRunner

import audit
from audit.cli.app import app
from audit.errors import AuditError, LimitExceeded
from audit.event.build import record_event
from audit.event.canonical import builtin
from audit.event.times import MAX_TIME_US, MIN_TIME_US
from audit.lineage.drifting.skew import skew
from audit.lineage.recorded.component_diff import compare_components
from audit.lineage.recorded.dataset_card import dataset_card, feature_card
from audit.lineage.recorded.datasets import all_datasets, check_dataset
from audit.lineage.recorded.evaluations import compare_evaluations
from audit.lineage.recorded.model_card import count_predictions, model_card
from audit.lineage.recorded.prediction_card import prediction_card
from audit.lineage.recorded.run_card import run_card
from audit.lineage.recorded.serving import serving_history
from audit.lineage.tracing.trace_diff import trace_diff
from audit.store.blobs import BlobStore
from tests.lineage.common import CLOCK_US, Case
from tests.lineage.common_trace import frame, sha

ROUNDS = 6
EVIL = "\x1b[2J\x1b]0;owned\x07\u202eevil\x00\n\r"
TYPES = {
    "component.run": ("run.v1", "run", "k{}"),
    "model.run": ("run.v1", "run", "t{}"),
    "model.version": ("model_version.v2", "model", "m@{}"),
    "dataset.version": ("dataset_version.v1", "dataset", "d@{}"),
    "feature.definition": ("feature_definition.v1", "dataset", "features/f@{}"),
    "model.transition": ("model_transition.v1", "model", "m"),
    "prediction": ("prediction.v2", "prediction", "p{}"),
    "ground_truth": ("ground_truth.v1", "prediction", "p{}"),
    "review": ("review.v1", "review", "run/k{}"),
}
SCALARS: list[Any] = [
    *(None, True, False, 0, 1, -1, 2**62, -(2**63), 0.0, 0.5, float("nan"), float("inf")),
    *(float("-inf"), 1e308, 5e-324, "", "x", EVIL, "m", "d@1", "run/k1", "[" * 500, "{}"),
    *("sha256:", frame("a"), sha("a"), b"\x00\xff", Decimal("1e999"), date(1, 1, 1)),
    *(date(9999, 12, 31), datetime(9999, 12, 31, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)),
    '{"value": {"a": 1}, "form": null}', '{"arguments":"one","format":"x","threshold":1e999}',
    *("name == 'x' and (y > 3)", "inquiry", '{"$double": "NaN"}', "model", "frame", "value"),
]  # fmt: skip


class Liar:
    """Makes records: mostly of the shape that a schema has, with anything in any place."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.types: dict[str, Any] = {}

    def anything(self, depth: int = 0) -> Any:
        draw = self.random.random()
        if depth > 3 or draw < 0.7:
            return self.random.choice(SCALARS)
        size = self.random.choice((0, 1, 2, 5))
        if draw < 0.85:
            return [self.anything(depth + 1) for _ in range(size)]
        return {f"{name}": self.anything(depth + 1) for name in range(size)}

    def record(self, schema: str) -> dict[str, Any]:
        made = self.of_type(json.loads(builtin(schema)))
        return made if isinstance(made, dict) else {"odd": made}

    def of_type(self, kind: Any) -> Any:
        """Something of an Avro type; now and then something else."""
        if self.random.random() < 0.15:
            return self.anything()
        kind = self.types.get(kind, kind) if isinstance(kind, str) else kind
        if isinstance(kind, dict) and "name" in kind:
            self.types[kind["name"]] = kind
        if isinstance(kind, list):
            return self.of_type(self.random.choice(kind))
        name = kind["type"] if isinstance(kind, dict) else kind
        if name == "record":
            wanted = [one for one in kind["fields"] if self.random.random() < 0.9]
            return {one["name"]: self.of_type(one["type"]) for one in wanted}
        if name == "array":
            size = self.random.choice((0, 1, 1, 2))
            return [self.of_type(kind["items"]) for _ in range(size)]
        fits = {"string": str, "long": int, "double": float, "boolean": bool, "bytes": bytes}
        known = [one for one in SCALARS if type(one) is fits.get(str(name), object)]
        return self.random.choice(known or SCALARS)


def told(case: Case, seed: int) -> None:
    """Records of every type, the names in them mostly those that they are filed under."""
    liar = Liar(seed)
    case.emit.create("inquiry", "p1", {"x": 1, "a": 1})
    for number in range(3):
        for type_, (schema, entity, key) in TYPES.items():
            data = liar.record(schema)
            data |= {"run_id": key.format(number), "name": {"model.run": "train"}.get(type_, "c")}
            if "@" in key:
                name, _, version = key.format(number).rpartition("@")
                data |= {"name": name.removeprefix("features/"), "version": version}
            data |= {"ref": key.format(number)} if type_ == "review" else {}
            data |= {"name": "m", "stage": "production"} if type_ == "model.transition" else {}
            if type_ == "prediction":
                data |= {
                    "model_name": "m",
                    "model_version": "1",
                    "features": {"x": liar.anything()},
                }
                data |= {"status": "OK"} if number else {}
            elif liar.random.random() < 0.5:
                data.pop("status", None)
                data["status"] = liar.random.choice(("COMPLETE", "FAIL", "START", EVIL))
            # What is over the limit of an event is nobody's to read.
            with suppress(LimitExceeded):
                built = record_event(
                    "review",
                    {**data, "odd": None},
                    event_id=f"{type_}-{number}",
                    source="liar",
                    entity_type=entity,
                    entity_key=key.format(number),
                    actor=liar.random.choice((None, EVIL)),
                    valid_time_us=liar.random.choice((None, MIN_TIME_US, MAX_TIME_US, CLOCK_US)),
                    supersedes=liar.random.choice((None, None, f"{type_}-0", f"{type_}-{number}")),
                )
                case.emit.send(built._replace(event=built.event._replace(type=type_)))
    case.emit.flush()


def questions(ledger: audit.Ledger, blobs: BlobStore) -> Iterator[Callable[[], Any]]:
    """Everything that can be asked; each answer is then written as JSON."""
    reader, cut = ledger.reader, ledger.cut()
    yield lambda: [one.to_json() for one in ledger.runs()]
    yield lambda: [one.to_json() for one in ledger.predictions()]
    yield lambda: [one.to_json() for one in ledger.flagged()]
    yield lambda: [one.to_json() for one in ledger.review()]
    yield lambda: [one.to_json() for one in serving_history(reader, "m", cut)]
    yield lambda: [one.to_json() for one in all_datasets(reader, cut)]
    yield lambda: ledger.drift("m", since="0001-01-02", by="x").to_json()
    yield lambda: ledger.drift("m", since="2026-01-05", baseline="model/m@1").to_json()
    yield lambda: ledger.drift("c", since="0001-01-02", baseline="dataset/d@1").to_json()
    yield lambda: skew(reader, blobs, "m@1", cut).to_json()
    yield lambda: ledger.training_set("m").to_json()
    yield lambda: compare_components(reader, blobs, "c", "train", cut).to_json()
    yield lambda: trace_diff(reader, blobs, "model/m@0", "model/m@1", cut).to_json()
    refs = [f"{word}{n}" for n in range(3) for word in (
        "run/k", "run/t", "model/m@", "dataset/d@", "dataset/features/f@")]  # fmt: skip
    predictions = [f"prediction/{one.prediction_id}" for one in ledger.predictions()]
    for ref in (*refs, *predictions, "inquiry/p1"):
        yield lambda ref=ref: ledger.trace(ref).to_json()
        yield lambda ref=ref: ledger.trace(ref, downstream=True).to_json()
    yield lambda: ledger.trace("inquiry", downstream=True).to_json()
    for n in range(3):
        yield lambda n=n: run_card(reader, blobs, f"k{n}", cut).to_json()
        yield lambda n=n: run_card(reader, blobs, f"t{n}", cut).to_json()
        yield lambda n=n: model_card(reader, f"m@{n}", cut).to_json()
        yield lambda n=n: count_predictions(reader, model_card(reader, f"m@{n}", cut), cut)
        yield lambda n=n: dataset_card(reader, f"d@{n}", cut).to_json()
        yield lambda n=n: check_dataset(reader, blobs, f"d@{n}", cut).to_json()
        yield lambda n=n: feature_card(reader, f"features/f@{n}", cut).to_json()
        yield lambda n=n: compare_evaluations(reader, f"k{n}", f"t{n}", cut).to_json()
    for ref in predictions:
        yield lambda ref=ref: prediction_card(reader, ref, cut).to_json()


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_no_reader_gives_anything_but_answers_and_our_errors(case: Case, seed: int) -> None:
    told(case, seed)
    answered = 0
    with audit.Ledger(case.url) as ledger:
        for ask in questions(ledger, case.blobs):
            try:
                json.dumps(ask(), allow_nan=False)
                answered += 1
            except AuditError as error:
                assert len(str(error)) < 2_000
    assert answered > 20


COMMANDS = (
    *("runs", "runs --inputs", "runs --json", "runs c --compare train", "review", "predictions"),
    *("serving m --history", "serving m", "trace run/k1", "trace model/m@1 --downstream"),
    *("trace run/t1 --format dot", "trace-diff run/k0 run/k1", "show run/k1", "show model/m@1"),
    *("show dataset/d@1", "show dataset/features/f@1", "drift m --since 0001-01-02 --by x"),
    *("drift c --since 0001-01-02", "show model/m@1 --json", "review --json", "history run/k1"),
)


@pytest.mark.parametrize("seed", (100, 101))
def test_no_command_lets_an_escape_through(case: Case, seed: int) -> None:
    told(case, seed)
    for command in COMMANDS:
        ran = CliRunner().invoke(app, [*command.split(), "--store", case.url])
        assert ran.exit_code in (0, 1, 2), (command, ran.output, ran.exception)
        said = ran.stdout + ran.stderr
        assert "Traceback" not in said and "a bug in audit" not in said, (command, said)
        assert not set("\x1b\x07\u202e\x00\r").intersection(said), command
