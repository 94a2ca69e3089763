"""What was observed of runs: the profiles of the frames that they read and made.

Of a component by windows; of one run, of the run that made a model, or of a dataset version as a
baseline. Where several frames of a run have a column of the same name, it is called FRAME.COLUMN.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from audit.errors import AuditError, InvalidInput, NotFound, Unavailable
from audit.event.types import DATASET_VERSION, MODEL_VERSION
from audit.event.valuejson import parse_json
from audit.lineage.content.distributions import NUMBER, Column, Profiled
from audit.lineage.content.profile import read_profile
from audit.lineage.drifting.observed import INPUTS, MAX_COLUMNS, OUTPUTS, Observed, Span
from audit.lineage.recorded.records import (
    DATASET_ENTITY,
    RUN_ENTITY,
    DataUse,
    Named,
    all_named,
    records_of,
    text,
)
from audit.lineage.recorded.runs import Run, find_run
from audit.lineage.tracing.run_pages import runs_of
from audit.replay.points import Cut
from audit.replay.refs import Ref, parse_ref
from audit.store.blobs import BlobStore
from audit.store.contract import Reader

MODEL_ENTITY = "model"
MAX_TYPE_CHARS = 40
NO_PROFILE = "frames without a profile"
UNREADABLE_PROFILE = "profiles that cannot be read"

Frames = list[tuple[str, str | None, Mapping[str, Profiled]]]
"""(side, what the run calls it, columns by name)."""


class Baseline(NamedTuple):
    """A run, model or dataset version as a baseline.

    `features`: the definitions used in training. `expects`: names that the model expects, if it
    says so; a column that it does not name may be the label.
    """

    ref: str
    run: Run | None
    observed: Observed
    features: tuple[Named, ...]
    expects: frozenset[str] | None

    @property
    def is_training(self) -> bool:
        """Whether it is a run, or a model's: a dataset version alone says nothing about code."""
        return not self.ref.startswith(f"{DATASET_ENTITY}/")


class _Profiles:
    """Gathers profiles; a column's name is settled when all are known."""

    def __init__(self, blobs: BlobStore, reader: Reader, cut: Cut) -> None:
        self.blobs, self.reader, self.cut = blobs, reader, cut
        self._datasets: dict[str, str | None] = {}

    def of_run(self, run: Run, side: str, left_out: dict[str, int]) -> Frames:
        uses: list[tuple[str, DataUse]] = []
        if side != OUTPUTS:
            uses += [(INPUTS, use) for use in run.inputs]
        if side != INPUTS:
            uses += [(OUTPUTS, use) for use in run.outputs]
        return [frame for one in uses for frame in self.of_use(*one, left_out)]

    def of_use(self, side: str, use: DataUse, left_out: dict[str, int]) -> Frames:
        digest = use.profile_digest
        if digest is None and use.dataset is not None:
            digest = self._of_dataset(use.dataset)
        if digest is None:
            # Only a frame has columns; what says no kind may be one.
            if use.kind in (None, "frame"):
                left_out[NO_PROFILE] = left_out.get(NO_PROFILE, 0) + 1
            return []
        try:
            return [(side, use.name, _columns(self.blobs.get(digest)))]
        except Unavailable:
            raise
        except AuditError:
            left_out[UNREADABLE_PROFILE] = left_out.get(UNREADABLE_PROFILE, 0) + 1
            return []

    def _of_dataset(self, key: str) -> str | None:
        if key not in self._datasets:
            found = records_of(
                self.reader, self.cut, DATASET_ENTITY, frozenset((DATASET_VERSION,)), key
            )
            self._datasets[key] = text(found[-1].data, "profile_digest") if found else None
        return self._datasets[key]


def observe_runs(
    reader: Reader,
    blobs: BlobStore,
    cut: Cut,
    component: str,
    spans: Sequence[Span],
    side: str = "both",
) -> tuple[list[Observed], list[int]]:
    """The runs of a component in each span, by when they started; and how many they were."""
    runs = runs_of(reader, cut, component)
    profiles = _Profiles(blobs, reader, cut)
    inside = [runs.only([told for told in runs.told if s.holds(told.time_us)]) for s in spans]
    left_outs: list[dict[str, int]] = [{} for _ in spans]
    # Twice through the profiles, rather than all of them in memory: first only the names.
    clashes: set[tuple[str, str]] = set()
    for some in inside:
        for run in some:
            clashes |= _clashes(profiles.of_run(run, side, {}))
    observed = [
        _gather((profiles.of_run(run, side, left_out) for run in some), clashes, left_out)
        for some, left_out in zip(inside, left_outs, strict=True)
    ]
    return observed, [len(some) for some in inside]


def observe_baseline(
    reader: Reader, blobs: BlobStore, cut: Cut, ref: str, side: str = "both"
) -> Baseline:
    """What a run read and made, a model was trained on, or a dataset version holds.

    Raises NotFound, InvalidInput for a REF of something else, Unavailable.
    """
    parsed = parse_ref(ref)
    profiles = _Profiles(blobs, reader, cut)
    if parsed.entity_type == RUN_ENTITY:
        run = find_run(reader, parsed.entity_key, cut)
        return _of_run(profiles, ref, run, run.features, None, side)
    if parsed.entity_type == MODEL_ENTITY:
        return _of_model(profiles, parsed, side)
    if parsed.entity_type == DATASET_ENTITY:
        return _of_dataset(profiles, parsed)
    raise InvalidInput(
        f"{ref:.140} is no baseline; give run/ID, model/NAME@VERSION, dataset/NAME@VERSION, "
        "a time or A..B"
    )


def _of_run(
    profiles: _Profiles,
    ref: str,
    run: Run | None,
    features: tuple[Named, ...],
    expects: frozenset[str] | None,
    side: str,
) -> Baseline:
    left_out: dict[str, int] = {}
    frames = [] if run is None else profiles.of_run(run, side, left_out)
    observed = _gather([frames], _clashes(frames), left_out)
    return Baseline(ref, run, observed, features, expects)


def _of_model(profiles: _Profiles, ref: Ref, side: str) -> Baseline:
    reader, cut = profiles.reader, profiles.cut
    types = frozenset((MODEL_VERSION,))
    found = records_of(reader, cut, MODEL_ENTITY, types, ref.entity_key)
    if not found:
        raise NotFound(f"there is no {ref!s:.140} in {reader.address}")
    data = found[-1].data
    run_id = text(data, "run_id")
    run = None
    if run_id is not None:
        try:
            run = find_run(reader, run_id, cut)
        except NotFound:
            run = None
    features = all_named(data, "features")
    if run is not None:
        features = tuple(dict.fromkeys((*features, *run.features)))
    # A training's outputs are models and metrics: what it read is what answers compare with.
    return _of_run(profiles, str(ref), run, features, _expected(text(data, "expects")), INPUTS)


def _of_dataset(profiles: _Profiles, ref: Ref) -> Baseline:
    types = frozenset((DATASET_VERSION,))
    found = records_of(profiles.reader, profiles.cut, DATASET_ENTITY, types, ref.entity_key)
    if not found:
        raise NotFound(f"there is no {ref!s:.140} in {profiles.reader.address}")
    use = DataUse(kind="frame", profile_digest=text(found[-1].data, "profile_digest"))
    left_out: dict[str, int] = {}
    frames = profiles.of_use(INPUTS, use, left_out)
    return Baseline(str(ref), None, _gather([frames], set(), left_out), (), None)


def _expected(expects: str | None) -> frozenset[str] | None:
    if expects is None:
        return None
    try:
        found: Any = parse_json(expects)
    except InvalidInput:
        return None
    return frozenset(map(str, found)) if isinstance(found, dict) and found else None


def _columns(data: bytes) -> dict[str, Profiled]:
    """The columns of a profile. Raises FormatError, LimitExceeded."""
    found = {}
    for one in read_profile(data).columns:
        is_number = one.kind == NUMBER
        found[one.name] = Profiled(
            type=one.type[:MAX_TYPE_CHARS],
            kind=one.kind,
            rows=one.rows,
            missing=one.missing,
            infinite=one.infinite,
            zeros=one.zeros,
            minimum=_double(one.minimum),
            maximum=_double(one.maximum),
            mean=one.mean,
            sample=tuple(map(float, one.sample)) if is_number else (),
            categories={} if is_number else one.categories,
            others=0 if is_number else one.others,
        )
    return found


def _double(limit: float | str | None) -> float | None:
    return None if limit is None or isinstance(limit, str) else float(limit)


def _clashes(frames: Frames) -> set[tuple[str, str]]:
    """(side, column) that several frames of one run have."""
    seen: set[tuple[str, str]] = set()
    twice: set[tuple[str, str]] = set()
    for side, _, columns in frames:
        keys = {(side, name) for name in columns}
        twice |= seen & keys
        seen |= keys
    return twice


def _gather(
    runs: Iterable[Frames], clashes: set[tuple[str, str]], left_out: dict[str, int]
) -> Observed:
    found: dict[tuple[str, str], Column] = {}
    rows = 0
    for frames in runs:
        rows += max((_rows(columns) for side, _, columns in frames if side == INPUTS), default=0)
        for side, frame, columns in frames:
            for name, profiled in columns.items():
                shown = f"{frame or '(no name)'}.{name}" if (side, name) in clashes else name
                column = found.get((side, shown))
                if column is None:
                    if len(found) >= MAX_COLUMNS:
                        why = f"columns beyond {MAX_COLUMNS}"
                        left_out[why] = left_out.get(why, 0) + 1
                        continue
                    column = found[side, shown] = Column(shown)
                column.add_profiled(profiled)
    columns_found = {key: column.distribution() for key, column in sorted(found.items())}
    rows = rows or max((one.rows for one in columns_found.values()), default=0)
    return Observed(rows, columns_found, left_out=left_out)


def _rows(columns: Mapping[str, Profiled]) -> int:
    return max((one.rows for one in columns.values()), default=0)
