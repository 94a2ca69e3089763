"""Features made again: the recorded definition, run on the data as the ledger had it then.

 1 record    the definition's entry, with the digest that the prediction names, must be VERIFIED
 2 data      each dataset replayed at the recorded sizes of the logs; its digest compared
 3 run       in a process of its own, as all recorded code
 4 compare   each feature with the one that was served, by bits

Where 1 or 2 fails, nothing is run, and the features are known as served only.
"""

import pickle
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from audit.errors import AuditError, NotFound, Unavailable
from audit.event.valuejson import parse_json
from audit.event.values import Value, dumps
from audit.lineage.again.capsules import kept_capsule
from audit.lineage.again.compare import IDENTICAL, compare
from audit.lineage.again.integrity import TAMPERED, VERIFIED
from audit.lineage.again.made_features import request_of
from audit.lineage.again.replayer import Replayer
from audit.lineage.again.rerun import Request, rerun
from audit.lineage.again.verdict import (
    AS_SERVED_ONLY,
    RECOMPUTED_DIFFERENT,
    RECOMPUTED_IDENTICAL,
    FeatureDifference,
)
from audit.lineage.content.forms import Form, Served
from audit.lineage.recorded.features import Definition, find_definitions
from audit.lineage.recorded.predictions import FeatureSet, Prediction
from audit.lineage.recorded.records import DataUse
from audit.replay.points import Cut
from audit.store.contract import Reader

if TYPE_CHECKING:
    import pandas

MAX_FEATURE_SETS = 20
"""How many definitions of one prediction are run again."""
MAX_REQUEST_CHARS = 1 << 20
MAX_READS = 50
"""How many datasets one definition may have read."""


class Recomputed(NamedTuple):
    """The answer about the features, which of them differ, and sentences with their reasons."""

    answer: str
    differences: tuple[FeatureDifference, ...] = ()
    reasons: tuple[str, ...] = ()
    messages: tuple[str, ...] = ()


class _Cannot(Exception):
    """Why a set of features cannot be made again: a reason, and words."""

    def __init__(self, reason: str | None, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def recompute(replayer: Replayer, prediction: Prediction, time_limit_s: float) -> Recomputed:
    """Make the features of a prediction again, those that recorded definitions made.

    Raises Unavailable.
    """
    sets = prediction.feature_sets
    if not sets:
        return Recomputed(AS_SERVED_ONLY)
    differences: list[FeatureDifference] = []
    names: set[str] = set()
    try:
        if len(sets) > MAX_FEATURE_SETS:
            raise _Cannot(None, f"it names more than {MAX_FEATURE_SETS} feature definitions")
        for one in sets:
            made = _made(replayer, one, time_limit_s)
            names.update(one.names or made)
            differences += _compared(one, prediction, made)
    except _Cannot as cannot:
        reasons = () if cannot.reason is None else (cannot.reason,)
        return Recomputed(AS_SERVED_ONLY, (), reasons, (str(cannot),))
    if differences:
        listed = ", ".join(
            f"{one.name} was served as {dumps(one.served)} and comes out as {dumps(one.recomputed)}"
            for one in differences[:5]
        )
        return Recomputed(RECOMPUTED_DIFFERENT, tuple(differences), (), (listed,))
    if not names:
        return Recomputed(AS_SERVED_ONLY, (), (), ("its feature definitions make no feature",))
    return Recomputed(RECOMPUTED_IDENTICAL, (), (), _only_served(prediction, names))


def _only_served(prediction: Prediction, names: set[str]) -> tuple[str, ...]:
    """A sentence that names the features which no definition made, where there are any."""
    served = prediction.features
    if not names.issubset(served):
        return ()  # they are in one of several arguments
    others = [name for name in served if name not in names]
    if not others:
        return ()
    listed = ", ".join(f"{name:.80}" for name in others[:10])
    more = "" if len(others) <= 10 else f" and {len(others) - 10} more"
    return (f"no definition made {listed}{more}: known as served only",)


def _made(replayer: Replayer, one: FeatureSet, time_limit_s: float) -> Mapping[str, Value]:
    """What the definition makes of the same data and request now. Raises _Cannot, Unavailable."""
    definition = _definition(replayer, one)
    at = definition.record
    found = replayer.checker.check(at.log, at.index, at.leaf)
    if found.answer == TAMPERED or (found.answer != VERIFIED and not replayer.run_unverified):
        raise _Cannot(
            f"DEFINITION_{found.answer}", f"the definition {_name(one)} is not run: {found.message}"
        )
    if len(one.request) > MAX_REQUEST_CHARS or len(one.reads) > MAX_READS:
        raise _Cannot(None, f"the request of {_name(one)} is too long")
    try:
        request = request_of(parse_json(one.request))
    except AuditError as error:
        raise _Cannot("FEATURES_UNREADABLE", f"the request of {_name(one)}: {error}") from None
    kept = kept_capsule(replayer.blobs, one.digest)
    if kept.problem is not None:
        raise _Cannot("CODE_UNAVAILABLE", f"the definition {_name(one)}: {kept.problem}")
    blobs = dict(kept.blobs)
    frames = {}
    for use in one.reads:
        name, digest, data = _frame(replayer.reader, one, use)
        frames[name], blobs[digest] = digest, data
    form: Form = None
    if request.form is not None:
        form = {"is": "dict", "keys": ["request"], "items": {"request": request.form}}
    call = {"features": form, "arguments": "one"}
    reply = rerun(
        Request(
            dict(kept.capsule), {"request": request.value}, call, "", "", "", "bytes", blobs,
            frames=frames,
        ),
        time_limit_s,
    )  # fmt: skip
    if reply.output is None or not isinstance(reply.output.value, dict):
        text = f"{reply.error}: {reply.message}" if reply.error else reply.message
        raise _Cannot("FEATURES_RAISED", f"the definition {_name(one)} does not run here: {text}")
    return reply.output.value


def _name(one: FeatureSet) -> str:
    return f"{one.name}@{one.version}"


def _definition(replayer: Replayer, one: FeatureSet) -> Definition:
    try:
        found = find_definitions(replayer.reader, one.name, one.version, replayer.cut)
    except Unavailable:
        raise
    except AuditError as error:
        raise _Cannot(None, str(error)) from None
    same = [definition for definition in found if definition.digest == one.digest]
    if not same:
        raise _Cannot(
            "LOG_GAP", f"LOG_GAP: the log has no feature.definition {_name(one)} of this digest"
        )
    return same[-1]


def _frame(reader: Reader, one: FeatureSet, use: DataUse) -> tuple[str, str, bytes]:
    """Name, digest and pickle of a dataset as it was read; for the process that runs the code."""
    from audit.store.blobs import digest_of

    name = use.name or use.entity_type
    if use.entity_type is None or not use.logs or name is None:
        raise _Cannot(
            None,
            f"{_name(one)} was given {name or 'data'} that is not cited; call it with ledger.at(T)",
        )
    try:
        frame = cited_frame(reader, use)
    except NotFound as error:
        raise _Cannot("LOG_GAP", f"LOG_GAP: {error}") from None
    except Unavailable:
        raise
    except AuditError as error:
        raise _Cannot(None, f"{name} cannot be replayed: {error}") from None
    try:
        same = use.digest is not None and has_digest(frame, use.digest)
    except Unavailable:
        raise
    except AuditError as error:
        raise _Cannot(None, f"{name} cannot be known by its digest: {error}") from None
    if use.digest is None or not same:
        raise _Cannot(
            "DATA_DIFFERENT",
            f"DATA_DIFFERENT: {name} at the recorded point is not what {_name(one)} read",
        )
    data = pickle.dumps(frame, protocol=5)
    return name, digest_of(data), data


def cited_frame(reader: Reader, use: DataUse) -> "pandas.DataFrame":
    """A dataset as it was read. Raises NotFound where the log has not got what is cited."""
    from audit.replay.asof import dataset

    if use.entity_type is None or not use.logs:
        raise NotFound("it does not say at which point of the ledger it was replayed")
    found = dataset(reader, use.entity_type, cited_cut(reader, use), use.valid_at_us)
    frame = found.frame({})
    frame.attrs.clear()
    return frame


def cited_cut(reader: Reader, use: DataUse) -> Cut:
    """The point of the ledger that something was replayed at. Raises NotFound."""
    from audit.replay.citation import cut_of_sizes

    known = {info.origin: info.log for info in reader.logs()}
    sizes = {}
    for point in use.logs:
        if point.origin not in known:
            raise NotFound(f"the log {point.origin} is not in {reader.address}")
        sizes[known[point.origin]] = point.size
    return cut_of_sizes(reader, sizes)._replace(as_of_us=use.as_of_us)


def has_digest(frame: "pandas.DataFrame", digest: str) -> bool:
    """Whether a frame has a recorded digest, of whichever algorithm."""
    from audit.lineage.content.frame_digest import FRAME_ALGORITHM, frame_digest

    if digest.startswith(FRAME_ALGORITHM + ":"):
        return f"{FRAME_ALGORITHM}:{frame_digest(frame)}" == digest
    from audit.lineage.recorded.run_inputs import describe_data

    return str(describe_data(frame, None)[0]["digest"]) == digest


def _compared(
    one: FeatureSet, prediction: Prediction, made: Mapping[str, Value]
) -> list[FeatureDifference]:
    served = _served(one, prediction)
    found = []
    for name in one.names or tuple(made):
        if name not in served:
            found.append(FeatureDifference(name, _name(one), "(not served)", made.get(name)))
        elif name not in made:
            found.append(FeatureDifference(name, _name(one), served[name], "(not made)"))
        else:
            then, now = Served(served[name], None), Served(made[name], None)
            if compare(then, now, 0.0).verdict != IDENTICAL:
                found.append(FeatureDifference(name, _name(one), served[name], made[name]))
    return found


def _served(one: FeatureSet, prediction: Prediction) -> Mapping[str, Value]:
    """The features as served: those of the function, or of one of its arguments."""
    features = prediction.features
    if all(name in features for name in one.names):
        return features
    for value in features.values():
        if isinstance(value, dict) and all(name in value for name in one.names):
            return value
    return features
