"""Which files are snapshots of which day: found by the dates in their names.

    users-2026-01-31.csv   20260131.parquet   2026-01-31T10.jsonl   T10:30, T1030, T10-30-00, ...Z
    2026-01-31/users.csv                    the nearest folder that has a date, one file in it
    .../date=2026-01-31/part-0.parquet      NAME=DATE: all files in it are one snapshot

Times are UTC. What is not sure is refused: a name with no date or with two, two files of one date,
a day that is missing in an otherwise regular series.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from audit.errors import InvalidInput, LimitExceeded, NotFound, Unavailable
from audit.event.times import format_time, us_of_time

MAX_FILES = 100_000
"""Files of one series."""
MAX_FILES_OF_ONE_DATE = 500
"""Files of one NAME=DATE folder: all are open at once."""
MAX_LISTED = 3
GAP_RATIO = 1.8
"""A step so many times as long as the usual one leaves something out; months differ by less."""
MIN_SNAPSHOTS_FOR_A_STEP = 3
_MOMENT = re.compile(
    r"(?<![0-9])([0-9]{4})(-?)([0-9]{2})\2([0-9]{2})"
    r"(?:T([0-9]{2})(?:[:-]?([0-9]{2})(?:[:-]?([0-9]{2}))?)?Z?)?"
    r"(?![0-9T+]|-[0-9]|\.[0-9])"
)
_PARTITION = re.compile(r"[^=/]+=(.+)")
_DAY_US = 86_400_000_000


class DatedFiles(NamedTuple):
    """The files of one snapshot, and its date in microseconds since the epoch."""

    time_us: int
    paths: tuple[Path, ...]


class Series(NamedTuple):
    """Snapshots by date, and the files in the folders that were left alone for their ending."""

    snapshots: list[DatedFiles]
    left_out: list[Path]


def find_snapshots(
    paths: Sequence[str | os.PathLike[str]], endings: Iterable[str], any_ending: bool
) -> Series:
    """The snapshots in folders and files. `any_ending`: the format was said, so endings say none.

    Raises InvalidInput, NotFound, LimitExceeded, Unavailable.
    """
    known = frozenset(endings)
    files: list[Path] = []
    left_out: list[Path] = []
    for given in map(Path, paths):
        if not given.is_dir():
            files.append(given)
            continue
        for path in _walked(given):
            fits = any_ending or path.suffix.lower() in known
            (files if fits else left_out).append(path)
    if not files:
        raise NotFound(
            f"no snapshots in {_listed(map(Path, paths))}: no CSV, JSONL or Parquet file"
        )
    return Series(_by_date(sorted(set(files))), left_out)


def _walked(folder: Path) -> Iterator[Path]:
    """All files below a folder; names that begin with . or _ are notes of other programs."""

    def refuse(error: OSError) -> None:
        raise Unavailable(f"cannot read {error.filename}: {error.strerror}")

    count = 0
    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "_")))
        for name in sorted(names):
            if not name.startswith((".", "_")):
                count += 1
                if count > MAX_FILES:
                    raise LimitExceeded(f"{folder} has more than {MAX_FILES:,} files")
                yield Path(place, name)


def _by_date(files: Sequence[Path]) -> list[DatedFiles]:
    undated = []
    found: dict[int, list[tuple[Path, Path | None]]] = {}
    for path in files:
        dated = date_of(path)
        if dated is None:
            undated.append(path)
        else:
            found.setdefault(dated[0], []).append((path, dated[1]))
    if undated:
        raise InvalidInput(
            f"no date, or more than one, in the name of {_listed(undated)}\n"
            "call it for instance NAME-2026-01-31.csv, or give the column with --date-column"
        )
    snapshots = []
    for time_us, dated_files in sorted(found.items()):
        paths = [path for path, _ in dated_files]
        folders = {folder for _, folder in dated_files}
        if len(paths) > 1 and (len(folders) > 1 or None in folders):
            raise InvalidInput(
                f"{len(paths)} files of {shown(time_us)}: {_listed(paths)}\n"
                "which is the state of that day? give the files of one dataset"
            )
        if len(paths) > MAX_FILES_OF_ONE_DATE:
            raise LimitExceeded(
                f"{len(paths)} files of {shown(time_us)}; at most {MAX_FILES_OF_ONE_DATE}"
            )
        snapshots.append(DatedFiles(time_us, tuple(paths)))
    return snapshots


def date_of(path: Path) -> tuple[int, Path | None] | None:
    """(microseconds, the NAME=DATE folder it is in, if it is) of a file; None without a date."""
    for parent in path.parents:
        partition = _PARTITION.fullmatch(parent.name)
        if partition and (time_us := _moment(partition[1])) is not None:
            return time_us, parent
    for name in (path.stem, *(parent.name for parent in path.parents)):
        if _MOMENT.search(name):
            time_us = _moment(name)
            return None if time_us is None else (time_us, None)
    return None


def _moment(text: str) -> int | None:
    """The one moment in a text; None when there is none, or several, or none of the calendar."""
    found = list(_MOMENT.finditer(text))
    if len(found) != 1:
        return None
    numbers = [int(found[0][group] or 0) for group in (1, 3, 4, 5, 6, 7)]
    year, month, day, hour, minute, second = numbers
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    return us_of_time(moment)


def gaps(times_us: Sequence[int]) -> list[tuple[int, int]]:
    """Neighbours between which the series leaves something out, by its own usual step."""
    if len(times_us) < MIN_SNAPSHOTS_FOR_A_STEP:
        return []
    steps = Counter(later - earlier for earlier, later in pairwise(times_us))
    usual = max(steps, key=lambda step: (steps[step], -step))
    return [
        (earlier, later)
        for earlier, later in pairwise(times_us)
        if later - earlier >= GAP_RATIO * usual
    ]


def refuse_gaps(times_us: Sequence[int]) -> None:
    """Raise InvalidInput when something is missing in between."""
    found = gaps(times_us)
    if found:
        (first, last), more = found[0], len(found) - 1
        also = f", and {more} more such gaps" if more else ""
        raise InvalidInput(
            f"nothing between {shown(first)} and {shown(last)}, though the series is denser{also}\n"
            "--gaps imports it all the same: the days between answer as the day before them"
        )


def shown(time_us: int) -> str:
    """A date; with the time of day where it is not midnight."""
    text = format_time(time_us)
    return text[:10] if time_us % _DAY_US == 0 else text


def _listed(paths: Iterable[Path]) -> str:
    names = [str(path) for path in paths]
    more = f" and {len(names) - MAX_LISTED:,} more" if len(names) > MAX_LISTED else ""
    return ", ".join(names[:MAX_LISTED]) + more
