"""What was predicted, which runs there were, which models: newest first."""

import json
import time
from typing import Any

from audit.ledger.cards import duration_text, status_text
from audit.lineage.recorded.predictions import PRIMARY, Prediction, output_text, read_prediction
from audit.replay.books import Books
from audit.web.answer import Answer, Asked, Parameter, Screen, Table
from audit.web.pinned import pin_text
from audit.web.screens.predicted import PREDICTIONS as OF_PREDICTIONS
from audit.web.screens.predicted import naming, of_model

DEFAULT_ROWS = 50
MAX_SKIP = 1_000_000
SEARCH_SECONDS = 0.1
"""So long a page is searched for. What was found by then is shown, and the next page goes on."""
_MODELS = "type:model.version"
_CSV = (
    *("log", "index", "time", "prediction", "about", "model", "version", "role", "status"),
    *("features", "output"),
)
AFTER = Parameter("after", "The token of the page before.")


def _predictions(asked: Asked) -> Answer:
    model = asked.text("model")
    if asked.wants_table:
        everything = asked.ledger.predictions(asked.text("q") or "", asked.cut)
        if model is not None:
            everything = filter(naming(model), everything)
        return Answer("Predictions", {}, {}, table=Table(_CSV, map(_cells, everything)))
    found, onward, stopped = _searched(asked, model)
    data = {
        "predictions": [one.to_json() for one in found],
        "next": onward,
        "stopped": stopped,
    }
    view: dict[str, Any] = {
        "rows": [(one, output_text(one)) for one in found],
        "older": None if onward is None else asked.here(after=onward),
        "primary": PRIMARY,
    }
    title = "Predictions" if model is None else f"Predictions of {model}"
    # The command line cannot ask for a model's predictions: a page of them names no command.
    command = ("audit", "predictions", *_words(asked)) if model is None else ()
    return Answer(title, data, view, command, next=view["older"])


def _searched(asked: Asked, model: str | None) -> tuple[list[Prediction], str | None, bool]:
    """Predictions, the token of what follows, and whether the time was over before."""
    query = f"{OF_PREDICTIONS} {asked.text('q') or ''}".strip()
    books = Books(asked.ledger.reader, asked.cut)
    found: list[Prediction] = []
    after, end_s = asked.text("after"), time.monotonic() + SEARCH_SECONDS
    while True:
        left_s = max(0.0, end_s - time.monotonic())
        page = asked.ledger.page(query, asked.cut, after=after, limit=DEFAULT_ROWS, within_s=left_s)
        after = page.next
        records = [one for one in page.records if _is_prediction(one)]
        if model is None:
            return [read_prediction(books, one) for one in records], after, page.stopped
        # A page is shown whole: what is left of it could not be gone on with.
        found += of_model(books, records, model)
        is_over = page.stopped or time.monotonic() > end_s
        if after is None or len(found) >= DEFAULT_ROWS or is_over:
            return found, after, after is not None and len(found) < DEFAULT_ROWS


def _is_prediction(record: Any) -> bool:
    return record.event is not None and record.event.type == "prediction"


def _words(asked: Asked) -> tuple[str, ...]:
    query = asked.text("q")
    return (query,) if query else ()


def _cells(one: Prediction) -> list[Any]:
    said = one.to_json()
    return [
        one.record.log,
        one.record.index,
        said["date"],
        one.prediction_id,
        one.key,
        one.model_name,
        one.model_version,
        one.role,
        one.status,
        json.dumps(said.get("features"), ensure_ascii=False),
        output_text(one),
    ]


def _runs(asked: Asked) -> Answer:
    skip = asked.skipped(MAX_SKIP)
    found, count = asked.ledger.runs_page(
        asked.text("component"),
        asked.cut,
        since=asked.text("since"),
        until=asked.text("until"),
        status=asked.text("status"),
        skip=skip,
        limit=DEFAULT_ROWS,
    )
    older = None
    if skip + DEFAULT_ROWS < count:
        older = asked.here(skip=str(skip + DEFAULT_ROWS), as_of=None, pin=pin_text(asked.cut))
    data = {"runs": [one.to_json() for one in found], "count": count, "older": older}
    view = {
        "rows": [(one, status_text(one), duration_text(one)) for one in found],
        "older": older,
    }
    return Answer("Runs", data, view, ("audit", "runs"), next=older)


def _models(asked: Asked) -> Answer:
    page = asked.ledger.page(
        _MODELS, asked.cut, after=asked.text("after"), limit=DEFAULT_ROWS, within_s=SEARCH_SECONDS
    )
    found = [
        (one, f"model/{one.event.entity_key}")
        for one in page.records
        if one.event is not None and one.event.entity_key is not None
    ]
    data = {
        "models": [{"ref": ref, "log": one.log, "index": one.index} for one, ref in found],
        "next": page.next,
        "stopped": page.stopped,
    }
    older = None if page.next is None else asked.here(after=page.next)
    view = {"rows": found, "older": older}
    return Answer("Models", data, view, ("audit", "log", _MODELS), next=older)


PREDICTIONS = Screen(
    path="/predictions",
    template="predictions.html",
    about="Predictions that a query fits, newest first; CSV and Parquet have all, oldest first.",
    answer=_predictions,
    parameters=(
        Parameter("q", "A query.", example="key:003 recorded:2026-01-05"),
        Parameter("model", "Only those of this model, NAME or NAME@VERSION.", example="churn@3"),
        AFTER,
    ),
    menu="Predictions",
    tabular=True,
)
RUNS = Screen(
    path="/runs",
    template="runs.html",
    about="Component and training runs, newest first, failed ones too.",
    answer=_runs,
    parameters=(
        Parameter("component", "Only of this component.", example="cleaning"),
        Parameter("since", "Started at or after this time.", example="-7d"),
        Parameter("until", "Started before this time.", example="2026-01-31"),
        Parameter("status", "START, COMPLETE or FAIL.", choices=("START", "COMPLETE", "FAIL")),
        Parameter("skip", "Runs to leave out.", most=MAX_SKIP),
    ),
    menu="Runs",
)
MODELS = Screen(
    path="/models",
    template="models.html",
    about="Model versions, the newest first.",
    answer=_models,
    parameters=(AFTER,),
    menu="Models",
)
