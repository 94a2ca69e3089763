"""Which version of a model served when, in each stage, and who approved it.

Told by `model.transition` records, on the valid axis: a transition counts from its valid time on
(the time it was recorded, where it names none), as known at the cut. Within a stage the last word
counts: a transition without a share, or with 1, gives the version all of the traffic and ends what
served before; one with a smaller share lets the others go on with the rest; a share of 0 ends that
version; a version of null ends the one that it names as the one before, without a name all.
"""

import time
from typing import Any, NamedTuple

from audit.errors import NotFound
from audit.event.times import format_time
from audit.event.types import MODEL_TRANSITION, MODEL_VERSION
from audit.event.valuejson import to_json
from audit.lineage.recorded.models import MODEL_ENTITY, model_key
from audit.lineage.recorded.records import Found, records_of, text
from audit.log.record import Record
from audit.replay.points import Cut
from audit.store.contract import Reader

TRANSITIONS = frozenset((MODEL_TRANSITION,))
VERSIONS = frozenset((MODEL_VERSION,))
MAX_SINGLE = 50
"""Up to so many versions are looked up each on its own; for more all of all models are read."""


class Serving(NamedTuple):
    """One version in one stage from `since_us` on, until `until_us` (None: until further notice).

    `version` is None where a stage served nothing. `share`: as recorded; None: all, or the rest
    that other versions left. `config_digest`: of what it was deployed with, where that was said.
    `record`: the transition that began it.
    """

    stage: str
    version: str | None
    digest: str | None
    since_us: int
    approved_by: str | None
    share: float | None
    until_us: int | None
    config_digest: str | None
    actor: str | None
    reason: str | None
    record: Record

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {
            "stage": self.stage,
            "version": self.version,
            "digest": self.digest,
            "since": format_time(self.since_us),
            "until": None if self.until_us is None else format_time(self.until_us),
            "share": to_json(self.share),
            "approved_by": self.approved_by,
            "config_digest": self.config_digest,
            "actor": self.actor,
            "reason": self.reason,
            "log": self.record.log,
            "index": self.record.index,
            "recorded_time": format_time(self.record.recorded_time_us),
        }


def serving(reader: Reader, name: str, at_us: int | None, cut: Cut) -> list[Serving]:
    """What served at a time, stage by stage. Without a time: at the cut's, else now.

    A stage that served once and serves nothing then is in it with the version None. Raises NotFound
    for a model of which nothing is recorded.
    """
    if at_us is None:
        at_us = time.time_ns() // 1_000 if cut.as_of_us is None else cut.as_of_us
    return [
        one
        for one in serving_history(reader, name, cut)
        if one.since_us <= at_us and (one.until_us is None or at_us < one.until_us)
    ]


def serving_history(reader: Reader, name: str, cut: Cut) -> list[Serving]:
    """All that ever served, by stage, then oldest first. Raises NotFound, InvalidInput."""
    model_key(name, "0")
    found = [
        one
        for one in records_of(reader, cut, MODEL_ENTITY, TRANSITIONS, name)
        if text(one.data, "name") in (name, None)
    ]
    versions = {text(one.data, "version") for one in found} - {None}
    keys = [f"{name}@{version}" for version in versions] if len(versions) <= MAX_SINGLE else [None]
    digests: dict[str, str] = {}
    for key in keys:
        digests |= _digests(reader, name, cut, key)
    if not found and not _digests(reader, name, cut, None):
        raise NotFound(f"nothing is recorded of a model {name!r:.80} in {reader.address}")
    stages: dict[str, list[Found]] = {}
    for one in sorted(found, key=_order):
        stage = text(one.data, "stage")
        if stage is not None:
            stages.setdefault(stage, []).append(one)
    return [one for stage in sorted(stages) for one in _spans(stage, stages[stage], digests)]


def _order(found: Found) -> tuple[int, int, int, int]:
    record = found.record
    return _since_us(found), record.recorded_time_us, record.log, record.index


def _since_us(found: Found) -> int:
    event = found.record.event
    valid_us = None if event is None else event.valid_time_us
    return found.record.recorded_time_us if valid_us is None else valid_us


def _spans(stage: str, transitions: list[Found], digests: dict[str, str]) -> list[Serving]:
    """The spans of one stage: each transition begins one, and ends some of those before it."""
    spans: list[Serving] = []
    running: list[int] = []
    for found in transitions:
        began = _serving(stage, found, digests)
        ended = _ended(began, text(found.data, "before"), [spans[at] for at in running])
        stays = [at for at in running if spans[at].version not in ended]
        for at in set(running) - set(stays):
            spans[at] = spans[at]._replace(until_us=began.since_us)
        running = stays
        if began.share == 0 or began.version is None:
            if running:
                continue
            began = began._replace(version=None, digest=None, share=None)
        running.append(len(spans))
        spans.append(began)
    # What was replaced in the moment it began never served.
    return [one for one in spans if one.until_us is None or one.until_us > one.since_us]


def _ended(began: Serving, before: str | None, running: list[Serving]) -> set[str | None]:
    """The versions that go when this transition comes; None stands for that nothing served."""
    if began.version is None and before is not None:
        return {before, None}
    if began.version is not None and began.share is not None and began.share < 1:
        return {began.version, None}
    return {one.version for one in running}


def _serving(stage: str, found: Found, digests: dict[str, str]) -> Serving:
    event = found.record.event
    assert event is not None
    version, share = text(found.data, "version"), found.data.get("share")
    return Serving(
        stage=stage,
        version=version,
        digest=text(found.data, "digest") or (None if version is None else digests.get(version)),
        since_us=_since_us(found),
        approved_by=text(found.data, "approved_by"),
        share=float(share) if type(share) is int or isinstance(share, float) else None,
        until_us=None,
        config_digest=text(found.data, "config_digest"),
        actor=event.actor,
        reason=event.reason,
        record=found.record,
    )


def _digests(reader: Reader, name: str, cut: Cut, key: str | None) -> dict[str, str]:
    """Version -> digest of the artifact, as registered last: of one version, or of all."""
    found = {}
    for one in records_of(reader, cut, MODEL_ENTITY, VERSIONS, key):
        version, digest = text(one.data, "version"), text(one.data, "digest")
        event = one.record.event
        if event is None or version is None or event.entity_key != f"{name}@{version}":
            continue
        if text(one.data, "name") == name and digest is not None:
            found[version] = digest
    return found
