"""Cards of what machine learning leaves behind: a prediction, a model version, a run."""

from typing import Any

from audit.errors import InvalidInput, NotFound
from audit.event.types import MODEL_TRANSITION, MODEL_VERSION, REVIEW
from audit.ledger import Ledger
from audit.ledger.cards import Card, card_of, pairs_of
from audit.lineage.recorded.model_card import ModelCard, model_card
from audit.lineage.recorded.prediction_card import PredictionCard
from audit.lineage.recorded.run_card import RunCard
from audit.lineage.recorded.runs import RUN_TYPES
from audit.lineage.recorded.serving import serving_history
from audit.log.record import Record
from audit.replay.points import Cut
from audit.replay.refs import parse_ref
from audit.web.answer import Answer, Asked, Parameter, Screen
from audit.web.query_text import term
from audit.web.screens.predicted import known_of

REF = Parameter(
    "ref",
    "The thing, as commands take it: prediction/ID, model/NAME@V.",
    True,
    example="model/churn@3",
)
MAX_REVIEWS = 100
"""What was said about a thing: so much of it is on its page, the newest."""
MAX_SERVED = 100
"""Times that a model served: the last ones of each stage."""
_TYPES = {"model": frozenset((MODEL_VERSION,)), "run": frozenset(RUN_TYPES)}
_LINKED = ("prediction/", "run/", "model/", "dataset/")


def _prediction(asked: Asked) -> Answer:
    return _card(asked, "prediction")


def _model(asked: Asked) -> Answer:
    answer = _card(asked, "model")
    name, version = (answer.data["card"][part] for part in ("name", "version"))
    found = serving_history(asked.ledger.reader, name, asked.cut)
    shown = found[-MAX_SERVED:]
    own = [one for one in found if one.version == version]
    ended_us = max((one.until_us for one in own if one.until_us is not None), default=None)
    known = known_of(asked.ledger, asked.cut, f"{name}@{version}", answer.view["recorded_us"])
    listed = asked.link("/predictions", model=f"{name}@{version}", q=known.since_when(ended_us))
    data = {
        **answer.data,
        "serving": [one.to_json() for one in shown],
        "serving_in_all": len(found),
        "predictions": {**known.to_json(), "page": listed},
    }
    query = f"{term('type', MODEL_TRANSITION)} {term('entity', 'model')} {term('key', name)}"
    view = {
        **answer.view,
        # What serves now stands first on the page, all that ever did in a table below.
        "pairs": _without(answer.view["pairs"], "SERVED"),
        "known": known,
        "own_version": version,
        "serves": [one for one in own if one.until_us is None],
        "ended_us": ended_us,
        "served": shown,
        "drift": asked.link("/drift", what=name),
        "trained": asked.link("/drift", what=name, baseline=f"model/{name}@{version}"),
        "transitions": asked.link("/events", q=query),
    }
    return Answer(answer.title, data, view, answer.command)


def _without(pairs: list[tuple[str, str, str | None]], label: str) -> list[Any]:
    """The lines of a card but those under a label; a line without one belongs to that above."""
    found, under = [], ""
    for pair in pairs:
        under = pair[0] or under
        if under != label:
            found.append(pair)
    return found


def _run(asked: Asked) -> Answer:
    return _card(asked, "run")


def _card(asked: Asked, word: str) -> Answer:
    ref = asked.needed("ref")
    if ref.partition("/")[0] != word:
        raise InvalidInput(f"{ref[:200]} is no {word}; write {word}/...")
    record = _record(asked.ledger, ref, asked.cut)
    card = card_of(asked.ledger, record, asked.cut)
    if card is None:
        raise NotFound(f"nothing is known of {ref[:200]} by this point")
    card, left_out = _bounded(card)
    data = {
        "ref": ref,
        "card": card.to_json(),
        "entry": {"log": record.log, "index": record.index},
        "left_out": left_out,
    }
    pairs = list(pairs_of(card))
    view: dict[str, Any] = {
        "reviews": asked.link("/events", q=f"{term('type', REVIEW)} {term('key', ref)}"),
        "pairs": [(label, text, _ref_in(text)) for label, text in pairs],
        "trace": asked.link("/trace", ref=ref),
        "downstream": asked.link("/trace", ref=ref, downstream="1"),
        "recorded_us": record.recorded_time_us,
        "known": None,
        "served": [],
        "drift": None,
    }
    return Answer(ref, data, view, ("audit", "show", ref))


def _bounded(card: Card) -> tuple[Card, dict[str, int]]:
    """A card with the newest of what it has very many of, and how many of each are left out."""
    left_out: dict[str, int] = {}
    if isinstance(card, PredictionCard | RunCard):
        left_out["reviews"] = max(0, len(card.reviews) - MAX_REVIEWS)
        card = card._replace(reviews=card.reviews[-MAX_REVIEWS:])
    if isinstance(card, ModelCard):
        left_out["served"] = max(0, len(card.served) - MAX_SERVED)
        card = card._replace(served=card.served[-MAX_SERVED:])
    return card, left_out


def _record(ledger: Ledger, ref: str, cut: Cut) -> Record:
    """The entry of a thing. Raises NotFound."""
    word, _, key = ref.partition("/")
    if word == "prediction":
        found = ledger.prediction_record(key, cut)
        if found is None:
            raise NotFound(f"there is no {ref[:200]} by this point")
        return found
    if word == "model" and "@" not in key:
        return model_card(ledger.reader, key, cut).record
    # Whoever writes records may put one of another type under the same key.
    versions = [one for one in ledger.history(parse_ref(ref), cut) if one.op in _TYPES[word]]
    if not versions:
        raise NotFound(f"nothing of {ref[:200]} was recorded by this point")
    return ledger.entry(f"{versions[-1].log}/{versions[-1].index}")


def _ref_in(text: str) -> str | None:
    """The reference that a line of a card begins with."""
    if not text.startswith(_LINKED):
        return None
    return text.split(" ", 1)[0].rstrip(",;:")


PREDICTION = Screen(
    path="/prediction",
    template="thing.html",
    about="A prediction: features as served, output, model, truth, and the verdicts of replays.",
    answer=_prediction,
    parameters=(REF,),
)
MODEL = Screen(
    path="/model",
    template="thing.html",
    about="A model version: how it was trained, on what, and when it served.",
    answer=_model,
    parameters=(REF,),
)
RUN = Screen(
    path="/run",
    template="thing.html",
    about="A run of a component or a training: code, parameters, inputs, outputs, how it ended.",
    answer=_run,
    parameters=(REF,),
)
