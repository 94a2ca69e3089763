"""What `--once` makes of a real topic: every message accounted for, exactly once."""

from tests.consumers.support import *  # placeholder
import pytest


def test_smoke(kafka_server, tmp_path):
    topic = kafka_server.new_topic(2)
    bus, store = kafka_server.url(topic), f"sqlite:///{tmp_path}/audit.db"
    send(bus, [the_schema(), *(an_event(n) for n in range(10))])
    import time

    t = time.monotonic()
    from consumers.logs import set_up

    set_up(False)
    assert consume(bus, store) == 0
    print(time.monotonic() - t)
    print(sizes(store))
    t = time.monotonic()
    assert consume(bus, store) == 0
    print(time.monotonic() - t)
    print(sizes(store))
    for e in entries(store, 0):
        print(e.kind, e.event[:80])
    for e in entries(store, 1):
        print(e.kind, e.source)
