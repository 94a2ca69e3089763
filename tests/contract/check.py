"""Re-derives a whole log from its leaves, plainly: what every fault test ends with."""

from audit.event.envelope import decode_event
from audit.log.entry import NO_HASH, Kind, decode_entry, encode_entry
from audit.store.contract import Reader
from audit.tlog.checkpoint import open_checkpoint
from audit.tlog.hashing import leaf_hash
from audit.tlog.keys import Verifier
from audit.tlog.merkle import root_of


def check_log(reader: Reader, verifier: Verifier, log: int = 0) -> list[bytes]:
    """Assert that the log is whole and fully covered; give its leaves."""
    leaves = [leaf for _, leaf in reader.leaves(log)]
    assert len(leaves) == reader.size(log)
    previous, time_us = NO_HASH, -1
    for index, leaf in enumerate(leaves):
        entry = decode_entry(leaf)
        assert encode_entry(entry) == leaf
        assert entry.index == index
        assert entry.prev_hash == previous
        assert entry.recorded_time_us > time_us
        previous, time_us = leaf_hash(leaf), entry.recorded_time_us
    hashes = [leaf_hash(leaf) for leaf in leaves]
    sizes = []
    for checkpoint in reader.checkpoints(log):
        opened = open_checkpoint(checkpoint.note, [verifier])
        assert opened.size == checkpoint.size
        assert opened.root == root_of(hashes[: opened.size])
        sizes.append(opened.size)
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == len(leaves)
    for tile in reader.tiles(log):
        if tile.level == 0:
            span = hashes[tile.index * 256 : tile.index * 256 + 256]
            assert tile.data == b"".join(span)
            assert tile.root == root_of(span)
    return leaves


def sealed_ids(leaves: list[bytes]) -> list[tuple[str, str]]:
    """(source, event id) of every EVENT entry that an application sent, in log order."""
    found = []
    for leaf in leaves:
        entry = decode_entry(leaf)
        if entry.kind is Kind.EVENT:
            event = decode_event(entry.event)
            if event.type != "schema":
                found.append((event.source, event.event_id))
    return found
