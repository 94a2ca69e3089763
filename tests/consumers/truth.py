"""What the applications of a story said, and the rows that must follow: plain, and on its own."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from audit.event.envelope import decode_event
from audit.log.entry import Kind, decode_entry
from audit.store.contract import LOG_OF_THE_LEDGER, Reader

Said = dict[str, Any]


def read_truth(paths: Iterable[Path]) -> dict[str, list[Said]]:
    """Source -> what it said in order; every file must end with the line of a whole flush."""
    truth = {}
    for path in paths:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        assert lines.pop() == {"flushed": len(lines)}
        truth[path.stem] = lines
    return truth


def rows_of(truth: dict[str, list[Said]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Dataset -> key -> row, by playing through what was said. No two sources share a key."""
    datasets: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for said in (each for source in truth.values() for each in source):
        if "image" not in said:
            continue
        rows = datasets[said["entity"]]
        if said["op"] == "truncate":
            rows.clear()
        elif said["op"] == "delete":
            rows.pop(said["key"], None)
        elif said["op"] == "create" or said["image"] == "full":
            rows[said["key"]] = dict(said["row"])
        else:
            rows[said["key"]] = {**rows.get(said["key"], {}), **said["row"]}
    return datasets


class Found(NamedTuple):
    """An event in a log, and what it is about."""

    log: int
    event_id: str
    thing: tuple[str | None, str | None]


def sealed(reader: Reader) -> dict[str, list[Found]]:
    """Source -> its events in all logs, in order of log and index.

    Schemas are left out, and the copies of a truncate are counted once: it stands in every log.
    """
    found = defaultdict(list)
    truncates: set[str] = set()
    for info in reader.logs():
        if info.log == LOG_OF_THE_LEDGER:
            continue
        for _, leaf in reader.leaves(info.log):
            entry = decode_entry(leaf)
            if entry.kind is not Kind.EVENT:
                continue
            event = decode_event(entry.event)
            if event.type == "schema" or event.event_id in truncates:
                continue
            if event.type == "data.truncate":
                truncates.add(event.event_id)
            thing = event.entity_type, event.entity_key
            found[event.source].append(Found(info.log, event.event_id, thing))
    return found


def check_once_and_in_order(reader: Reader, truth: dict[str, list[Said]]) -> None:
    """Every event that was said is sealed exactly once, and each key's in the order said."""
    found = sealed(reader)
    assert set(found) == set(truth)
    for source, saids in truth.items():
        ids = [each.event_id for each in found[source]]
        assert len(ids) == len(set(ids)), "an event was sealed twice"
        assert set(ids) == {said["id"] for said in saids}
        assert _by_thing((each.event_id, each.thing) for each in found[source]) == _by_thing(
            (said["id"], (said["entity"], said["key"])) for said in saids
        )
        _check_one_log_a_thing(found[source])


def _by_thing(
    pairs: Iterable[tuple[str, tuple[str | None, str | None]]],
) -> dict[tuple[str | None, str | None], list[str]]:
    by_thing = defaultdict(list)
    for event_id, thing in pairs:
        if thing[1] is not None:
            by_thing[thing].append(event_id)
    return by_thing


def _check_one_log_a_thing(found: Sequence[Found]) -> None:
    logs = defaultdict(set)
    for each in found:
        if each.thing[1] is not None:
            logs[each.thing].add(each.log)
    assert all(len(of_thing) == 1 for of_thing in logs.values())
