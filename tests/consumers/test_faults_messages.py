"""What a topic can hold that no emitter sent, or sent twice: none of it stops or confuses a log."""

from contextlib import closing
from pathlib import Path

from kafka import KafkaProducer

from audit.event.envelope import decode_event, encode_event
from audit.log.entry import MAX_EVENT_IN_LEAF_BYTES
from tests.consumers.faults import Feed, Member, Place, an_event, consume, put, some_events
from tests.consumers.rederive import check, quarantined, skips
from tests.services.kafka import KafkaServer

POISON = b"\xc3\x01 not an event"
OTHER_POISON = [b"", b"\x00\x00\x00\x00\x07registry", b"{}", b"\xc3\x01" + bytes(8) + b"unknown"]


def test_poison_wherever_it_stands(kafka_server: KafkaServer, ledger_dir: Path) -> None:
    # Batches of ten: the first of one, the last of one, all of one; alone; and everything.
    place = Place.new(kafka_server, ledger_dir, partitions=4)
    all_of_one = [b"poison %d" % number for number in range(10)]
    put(
        place,
        [
            POISON,
            *some_events(place, range(18)),
            OTHER_POISON[0],
            *all_of_one,
            *some_events(place, range(18, 28)),
        ],
    )
    put(place, [POISON], partition=1)
    put(place, [*OTHER_POISON, *all_of_one, POISON, POISON], partition=2)
    large = POISON + bytes(MAX_EVENT_IN_LEAF_BYTES)
    odd: list[bytes | None] = [None, large, large + b"more", None]
    put(place, [*odd, *some_events(place, range(28, 40)), *odd], partition=3)
    assert consume(place, batch=10) == 0
    put(place, some_events(place, range(40, 50)))
    assert consume(place, batch=10) == 0
    entries = check(place)
    offsets = [0, 19, *range(20, 30)]
    assert quarantined(entries[1]) == [(offset, "UNDECODABLE") for offset in offsets]
    assert quarantined(entries[2]) == [(0, "UNDECODABLE")]
    assert quarantined(entries[3]) == [(offset, "UNDECODABLE") for offset in range(15)]
    assert skips(entries[3]) == [(15, 16, "DUPLICATE")]
    words = [word for _, word in quarantined(entries[4])]
    assert words == ["TOMBSTONE", "OVERSIZE", "OVERSIZE"]
    assert [span for span in skips(entries[4]) if span[2] != "DUPLICATE"] == []


def test_sent_again(kafka_server: KafkaServer, ledger_dir: Path) -> None:
    place = Place.new(kafka_server, ledger_dir)
    events = some_events(place, range(100))
    # A retry that was not needed, within a batch and across batches; a producer that starts again
    # with new numbers; and one that says something else under a known id.
    put(place, [*events[:50], *events[40:60]])
    assert consume(place) == 0
    again = [
        encode_event(decode_event(event)._replace(producer_id="restarted", producer_sequence=n))
        for n, event in enumerate(events[50:70])
    ]
    changed = [an_event(number, row={"n": "changed"}) for number in (3, 65)]
    put(place, [*events[60:], *again, *changed, *events, *changed])
    assert consume(place) == 0
    entries = check(place)
    conflicts = quarantined(entries[1])
    assert [word for _, word in conflicts] == ["EVENT_ID_CONFLICT"] * 2
    assert [entries[1][entry.index] for entry in entries[1] if entry.event in changed]
    assert sum(stop - start for start, stop, _ in skips(entries[1])) == 10 + 20 + 100 + 2


def test_an_emitter_that_sends_again_after_its_crash(
    kafka_server: KafkaServer, ledger_dir: Path
) -> None:
    # What was acknowledged but still stands in the spool is sent once more by the next one.
    place = Place.new(kafka_server, ledger_dir, partitions=3)
    with Member(place):
        with Feed(place) as feed:
            feed.say(100)
            kept = {p: p.read_bytes() for p in (ledger_dir / "spool").rglob("*") if p.is_file()}
            feed.flush()
        for path, data in kept.items():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        with Feed(place, "next") as feed:
            feed.say(100)
            feed.flush()
        place.wait_sealed()
    entries = check(place)
    assert len(kept) >= 1
    reasons = {reason for log in (1, 2, 3) for _, _, reason in skips(entries[log])}
    assert reasons == {"DUPLICATE"}


def test_transactions_committed_and_aborted(kafka_server: KafkaServer, ledger_dir: Path) -> None:
    place = Place.new(kafka_server, ledger_dir)
    aborted = [b"never committed %d" % number for number in range(8)]
    producer = KafkaProducer(
        bootstrap_servers=kafka_server.bootstrap, transactional_id=place.topic, acks="all"
    )
    with closing(producer), Member(place, batch=7):
        producer.init_transactions()
        for start, ends in (
            (0, "commit"),
            (0, "abort"),
            (0, "abort"),
            (10, "commit"),
            (0, "abort"),
        ):
            producer.begin_transaction()
            values = some_events(place, range(start, start + 10)) if ends == "commit" else aborted
            for value in values:
                producer.send(place.topic, value, key=b"k", partition=0)
            producer.flush()  # what was not sent yet would be aborted without ever being there
            if ends == "commit":
                producer.commit_transaction()
            else:
                producer.abort_transaction()
        put(place, some_events(place, range(20, 25)))
        # One that is still open holds back what comes after it.
        producer.begin_transaction()
        producer.send(place.topic, aborted[0], key=b"k", partition=0).get(10)
        put(place, some_events(place, range(25, 30)))
        place.wait_sealed()
        check(place, complete=False)
        producer.abort_transaction()
        place.wait_sealed()
    entries = check(place)
    expected = sum(skip[1] - skip[0] for skip in skips(entries[1]))
    assert {reason for _, _, reason in skips(entries[1])} == {"NO_MESSAGE"}
    assert expected == 3 * 8 + 5 + 2  # aborted messages, markers; and the open one with its own
