"""Cards: what is known of a run, a model or dataset version, a feature definition, a prediction."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from audit.errors import NotFound
from audit.event.times import format_time
from audit.event.types import (
    DATASET_VERSION,
    FEATURE_DEFINITION,
    MODEL_VERSION,
    PREDICTION,
)
from audit.event.values import dumps
from audit.ledger.said import when
from audit.lineage.recorded.records import DataUse

if TYPE_CHECKING:
    from audit.ledger import Ledger
    from audit.lineage.recorded.dataset_card import DatasetCard, FeatureCard
    from audit.lineage.recorded.model_card import ModelCard
    from audit.lineage.recorded.prediction_card import PredictionCard
    from audit.lineage.recorded.reviews import Review
    from audit.lineage.recorded.run_card import RunCard
    from audit.lineage.recorded.runs import Run
    from audit.log.record import Record
    from audit.replay.points import AsOf, Cut

MAX_COLUMNS_SHOWN = 100
Pairs = Iterator[tuple[str, str]]


class Card(Protocol):
    """What every card can do."""

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""


def card_of(ledger: "Ledger", record: "Record", as_of: "AsOf | Cut") -> Card | None:
    """The card of what an entry records, as known by a point; None when there is none for it."""
    from audit.lineage.recorded.dataset_card import dataset_card, feature_card
    from audit.lineage.recorded.model_card import model_card
    from audit.lineage.recorded.prediction_card import prediction_card
    from audit.lineage.recorded.run_card import run_card
    from audit.lineage.recorded.runs import RUN_TYPES
    from audit.store.blobs import BlobStore, default_blobs_url

    event = record.event
    if event is None or (event.entity_key is None and event.type != PREDICTION):
        return None
    reader, cut, key = ledger.reader, ledger.cut(as_of), event.entity_key or ""
    try:
        if event.type in RUN_TYPES:
            blobs = BlobStore(default_blobs_url(ledger.url))
            return run_card(reader, blobs, key, cut)
        if event.type == MODEL_VERSION:
            return model_card(reader, key, cut)
        if event.type == DATASET_VERSION:
            return dataset_card(reader, key, cut)
        if event.type == FEATURE_DEFINITION:
            return feature_card(reader, key, cut)
        if event.type == PREDICTION:
            return prediction_card(reader, f"{event.source}:{event.event_id}", cut)
    except NotFound:
        pass  # a record that says otherwise than its envelope: the entry itself is shown
    return None


def pairs_of(card: Card) -> Pairs:
    """Label and text of each line of a card."""
    from audit.lineage.recorded.dataset_card import DatasetCard, FeatureCard
    from audit.lineage.recorded.model_card import ModelCard
    from audit.lineage.recorded.prediction_card import PredictionCard
    from audit.lineage.recorded.run_card import RunCard

    if isinstance(card, RunCard):
        yield from _run(card)
    elif isinstance(card, ModelCard):
        yield from _model(card)
    elif isinstance(card, DatasetCard):
        yield from _dataset(card)
    elif isinstance(card, FeatureCard):
        yield from _features(card)
    elif isinstance(card, PredictionCard):
        yield from _prediction(card)


def status_text(run: "Run") -> str:
    """How a run ended; that it has no end, for one that still goes on or died."""
    return "START (no end)" if run.status == "START" else run.status


def duration_text(run: "Run") -> str:
    """How long a run took, for people; empty where it does not say."""
    from audit.lineage.recorded.run_card import duration_us

    took_us = duration_us(run)
    if took_us is None:
        return ""
    if took_us < 1_000_000:
        return f"{took_us / 1_000:,.1f} ms"
    return f"{took_us / 1_000_000:,.1f} s"


def use_text(use: DataUse) -> str:
    """Something that was read or made, in one line: name, size, content, where it is from."""
    size = [] if use.rows is None else [f"{use.rows:,} rows"]
    size += [f"{len(use.columns):,} columns"] if use.columns else []
    size += [f"{use.bytes:,} bytes"] if use.bytes is not None and not size else []
    words = [", ".join([use.kind or "data", *size])]
    words += [use.digest or "(no digest)"]
    words += [f"file {use.path}"] if use.path is not None else []
    words += [f"dataset/{use.dataset}"] if use.dataset is not None else []
    if use.entity_type is not None or use.logs:
        points = ", ".join(f"{point.origin} at size {point.size:,}" for point in use.logs)
        words += [f"from {use.entity_type or 'the ledger'}" + (f" ({points})" if points else "")]
    for word, time_us in (("as of", use.as_of_us), ("valid at", use.valid_at_us)):
        words += [f"{word} {format_time(time_us)}"] if time_us is not None else []
    return (f"{use.name}: " if use.name else "") + "; ".join(words)


def _run(card: "RunCard") -> Pairs:
    run = card.run
    yield "RUN", run.run_id
    yield "COMPONENT", f"{run.name} ({run.type})"
    yield from _texts(
        ("ABOUT", run.description),
        ("OWNER", run.owner),
        ("TAGS", ", ".join(run.tags)),
        ("STATUS", status_text(run)),
        ("STARTED", None if run.started_us is None else format_time(run.started_us)),
        ("TOOK", duration_text(run)),
        ("PART OF", run.parent_run_id and f"run/{run.parent_run_id}"),
    )
    yield from _code(run)
    yield from _run_results(card)
    if card.traceback is not None:
        text = card.traceback.text
        yield "TRACEBACK", text.rstrip() if text else f"not there: {card.traceback.problem}"
    yield from _reviews(card.reviews)


def _run_results(card: "RunCard") -> Pairs:
    run = card.run
    yield from _values("PARAMS", run.params)
    yield from _texts(("SEED", None if run.seed is None else str(run.seed)))
    yield from _lines("INPUTS", map(use_text, run.inputs))
    yield from _lines("OUTPUTS", map(use_text, run.outputs))
    yield from _lines("MODELS", (f"model/{one} {one.digest or ''}".rstrip() for one in run.models))
    yield from _lines("FEATURES", (f"dataset/features/{one}" for one in run.features))
    yield from _values("METRICS", run.metrics)
    tests = (
        f"{one.phase} {one.name}: {one.status}" + (f" ({one.message})" if one.message else "")
        for one in run.tests
    )
    yield from _lines("TESTS", tests)
    yield from _values("ENVIRONMENT", run.environment)
    yield from _texts(("LOCK", run.lock_digest), ("ERROR", run.error))


def _code(run: "Run | None") -> Pairs:
    if run is None:
        return
    commit = run.code_commit or "no commit recorded"
    dirty = {True: ", with changes that are not in it", False: "", None: ""}[run.code_dirty]
    yield "CODE", commit + (dirty if run.code_commit else "")
    yield from _texts(("SOURCE", run.code_digest), ("FUNCTION", run.function_digest))


def _model(card: "ModelCard") -> Pairs:
    run = card.run
    yield "MODEL", f"{card.name}@{card.version}"
    size = "" if card.artifact_bytes is None else f", {card.artifact_bytes:,} bytes"
    yield "ARTIFACT", f"{card.digest or 'no digest'}{size}, {card.format or 'of no named format'}"
    yield from _texts(
        ("ABOUT", card.description), ("TAGS", ", ".join(card.tags)), ("PACKAGE", card.package)
    )
    yield "REGISTERED", format_time(card.record.recorded_time_us)
    yield "TRAINED BY", _trained_by(card)
    yield from _code(run)
    yield from _lines("DATA", (_training_data(card, at) for at in range(len(card.data))))
    columns = [name for one in card.data for name in one.use.columns]
    shown = ", ".join(dict.fromkeys(columns[:MAX_COLUMNS_SHOWN]))
    yield from _texts(("COLUMNS", shown + (" ..." if len(columns) > MAX_COLUMNS_SHOWN else "")))
    yield from _values("PARAMS", card.params)
    yield from _texts(("SEED", None if card.seed is None else str(card.seed)))
    yield from _values("LIBRARIES", card.packages)
    members = (f"model/{one} {one.digest or ''}".rstrip() for one in card.members)
    yield from _lines("ENSEMBLE OF", members if card.members else ("one model alone",))
    yield from _lines("FEATURES", (f"dataset/features/{one}" for one in card.features))
    yield from _values("METRICS", card.metrics)
    for label, value in (("TOLERANCE", card.tolerance), ("THRESHOLD", card.threshold)):
        yield from _texts((label, None if value is None else repr(value)))
    if card.expects is not None:
        yield "EXPECTS", _json_text(card.expects)
    served = (
        f"{one.stage} from {when(one.since_us)}"
        + (f" to {when(one.until_us)}" if one.until_us is not None else "")
        + (f", {one.share:.0%} of the traffic" if one.share is not None else "")
        + (f", approved by {one.approved_by}" if one.approved_by else "")
        for one in card.served
    )
    yield from _lines("SERVED", served if card.served else ("never, as far as is recorded",))
    yield from _lines("WARNING", card.warnings)


def _trained_by(card: "ModelCard") -> str:
    if card.run is None:
        return "no run is recorded" if card.run_id is None else f"run/{card.run_id} (no record)"
    run = card.run
    return f"{run.ref} ({run.name}, {status_text(run)}, {when(run.time_us)})"


def _training_data(card: "ModelCard", at: int) -> str:
    one = card.data[at]
    same = [name for name in one.datasets if name != one.use.dataset]
    return use_text(one.use) + (f"; the content of dataset/{', dataset/'.join(same)}" * bool(same))


def _dataset(card: "DatasetCard") -> Pairs:
    dataset = card.dataset
    yield "DATASET", f"{dataset.name}@{dataset.version}"
    yield "CONTENT", use_text(dataset.data._replace(dataset=None))
    yield from _texts(
        ("QUERY", dataset.query),
        ("PURPOSE", dataset.purpose),
        ("MADE BY", dataset.run_id and f"run/{dataset.run_id}"),
        ("COPY", dataset.data.blob_digest),
        ("PROFILE", dataset.data.profile_digest),
    )
    yield "RECORDED", format_time(dataset.record.recorded_time_us)
    yield from _lines("MADE FROM", dataset.parents)
    answers = (f"answers of model/{one}" for one in dataset.predictions_of)
    yield from _lines("HOLDS", answers)
    columns = [f"{name} {value}" for name, value in dataset.data.columns.items()]
    yield from _lines("COLUMNS", columns[:MAX_COLUMNS_SHOWN])
    yield from _lines("READ BY", card.readers)
    for other in card.others:
        yield "WARNING", f"the version was also recorded with other content: {other}"


def _features(card: "FeatureCard") -> Pairs:
    yield "FEATURES", f"{card.name}@{card.version}"
    yield from _texts(
        ("ABOUT", card.description),
        ("OWNER", card.owner),
        ("FUNCTION", card.digest),
        ("SOURCE", card.source_digest),
        ("READS", ", ".join(card.reads)),
        ("REPLACES", card.replaces),
        ("REPLACED BY", ", ".join(card.replaced_by)),
    )
    yield "RECORDED", format_time(card.record.recorded_time_us)
    yield from _lines("USED BY", (*card.runs, *card.models))


def _prediction(card: "PredictionCard") -> Pairs:
    one = card.prediction
    if one.problem is not None:
        yield "UNREADABLE", one.problem
        return
    version = f"@{one.model_version}" if one.model_version else ""
    yield "PREDICTION", one.prediction_id
    served = {True: ", served", False: ", not served", None: ""}[one.served]
    yield "ROLE", one.role + served
    yield "MODEL", f"model/{one.model_name}{version} {one.model_digest or ''}".rstrip()
    yield from _values("FEATURES", one.features)
    yield from _lines("NOT GIVEN", (f"{k}: {v}" for k, v in one.feature_status.items()))
    yield from _lines(
        "MADE BY", (f"dataset/features/{made.name}@{made.version}" for made in one.feature_sets)
    )
    if one.status == "OK":
        yield "OUTPUT", dumps(one.output)
    else:
        yield "OUTPUT", f"{one.status}: {one.error or ''}"
    yield from _lines("VIOLATIONS", one.violations)
    yield from _texts(
        ("THRESHOLD", None if one.threshold is None else repr(one.threshold)),
        ("BATCH", one.batch and f"{one.batch.rows:,} rows, {one.batch.failed:,} of them failed"),
        ("PRIMARY", one.primary and f"prediction/{one.primary}"),
    )
    yield from _lines("PARENTS", (f"prediction/{id_}" for id_ in one.parents))
    yield from _lines("MEMBERS", (f"prediction/{id_}" for id_ in one.members))
    beside = (
        f"{other.role} {other.model}: {dumps(other.output)} (prediction/{other.prediction_id})"
        for other in card.beside
    )
    yield from _lines("BESIDE", beside)
    yield from _lines("TRUTH", (dumps(truth.to_json()["value"]) for truth in card.truths))
    yield from _reviews(card.reviews)


def _reviews(reviews: "list[Review]") -> Pairs:
    from audit.lineage.recorded.reviews import FLAGGING

    for one in reviews:
        what = one.verdict or one.message or ""
        rest = f" ({one.message})" if one.verdict and one.message else ""
        who = f" by {one.actor}" if one.actor else ""
        said = f"{when(one.time_us)}{who}: {what}{rest}"
        if one.kind not in FLAGGING:  # a verdict that was recorded is a claim, and no proof
            said += f"; claimed by {one.source}, entry {one.record.log}/{one.record.index}"
        yield one.kind, said


def _texts(*pairs: tuple[str, str | None]) -> Pairs:
    """Those that say something."""
    for label, text in pairs:
        if text:
            yield label, text


def _values(label: str, values: Mapping[str, Any]) -> Pairs:
    yield from _lines(label, (f"{name} = {dumps(value)}" for name, value in values.items()))


def _lines(label: str, lines: Iterable[str]) -> Pairs:
    """A label for the first line only; nothing for none."""
    for line in lines:
        yield label, line
        label = ""


def _json_text(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False, allow_nan=False)
